"""The tiny zoo: three pretrained language models of different architectures that ship with the package.

`tiny-gptneo` learned mostly prose, `tiny-mamba` mostly code and `tiny-pythia` both, about a million parameters each,
all with one vocabulary. They are ordinary Hugging Face folders; importing this module loads no model and no torch.
"""

from difflib import get_close_matches
from functools import cache
from pathlib import Path

import yaml

from manticore_kit.errors import ManticoreError

NAMES = ("tiny-gptneo", "tiny-pythia", "tiny-mamba")
MODELS = Path(__file__).parent / "models"


def names() -> tuple[str, ...]:
    """Return the names of the zoo's models."""
    return NAMES


def path(name: str) -> Path:
    """Return the folder of one of the zoo's models inside this package."""
    if name not in NAMES:
        near = get_close_matches(name, NAMES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ManticoreError(f"{name!r} is not in the tiny zoo, which has {', '.join(NAMES)}{hint}")
    return MODELS / name


def card(name: str | Path) -> dict:
    """Return the machine-readable part of a model card: the YAML at the top of the folder's README.md.

    `name` is one of `NAMES`, or the folder of a model that `build` made.
    """
    return _front_matter(folder(name) / "README.md")


def folder(name: str | Path) -> Path:
    """Return the folder of a zoo name, or the given folder itself when it holds a model card."""
    if name not in NAMES and (Path(name) / "README.md").is_file():
        return Path(name)
    return path(str(name))


def measured(name: str | Path) -> dict[str, float]:
    """Return the held-out losses, in nats per token, of the model as loaded now on the text of this Python.

    On the text that the card's fingerprints name, they are the card's.
    """
    from manticore_kit.zoo.measure import load, losses

    return losses(*load(folder(name)))["loss"]


def build(names=None, out: str | Path = "zoo", **options) -> list[Path]:
    """Train models of the zoo into folders below `out` and return those: `manticore_kit.zoo.training.build`."""
    from manticore_kit.zoo import training

    return training.build(names, out, **options)


@cache
def _front_matter(file: Path) -> dict:
    _, front, _ = file.read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front)
