"""The configuration of a hybrid: everything that is needed to build its modules without the source models."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from manticore_kit.components.refusals import refuse_unsuitable
from manticore_kit.components.replay import Stack
from manticore_kit.errors import ManticoreError
from manticore_kit.hybrid.projector import KINDS


@strict
class ManticoreConfig(PreTrainedConfig):
    """Configuration of a `ManticoreForCausalLM`.

    `components` has one entry a component: its `name`, its own transformers `config` as a dictionary, the
    `attention` implementation, the `cuts` (first layer of each block after the first), the `stack` (see
    `manticore_kit.components.Stack`) and what is `kept` of it after discretisation: the numbers of its `layers`, and
    whether its `embedding` and `head` are there. `recipe` is the recipe that the hybrid was built from, less its
    mixture, which lives in the weights. Projectors are as in `manticore_kit.hybrid.projector`; a `projector_rank` of
    None is that module's share of the width.
    """

    model_type = "manticore"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]

    components: list[dict] | tuple[dict, ...] = ()
    ends: str = "own"
    projector_kind: str = "linear"
    projector_init: str = "identity"
    projector_rank: int | None = None
    width: int = 0
    vocab_size: int = 0
    recipe: dict[str, Any] | None = None
    use_cache: bool = True
    max_position_embeddings: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    tie_word_embeddings: bool = False

    @property
    def hidden_size(self) -> int:
        """Shared width of the states between blocks."""
        return self.width

    @property
    def num_blocks(self) -> int:
        """Number of blocks, the same for every component."""
        return len(self.components[0]["cuts"]) + 1 if self.components else 0

    @property
    def num_hidden_layers(self) -> int:
        """Layers of all components together, as far as they are kept."""
        return sum(len(kept_layers(c)) for c in self.components)

    @property
    def component_names(self) -> list[str]:
        """The components' names, in order."""
        return [c["name"] for c in self.components]

    @property
    def spans(self) -> list[list[tuple[int, int]]]:
        """`spans[k][n]` are the first and one past the last layer of block n of component k."""
        edges = [[0, *c["cuts"], len(c["stack"]["returns"])] for c in self.components]
        return [list(pairwise(e)) for e in edges]


@dataclass(frozen=True)
class Layout:
    """What a forward asks of a configuration, in plain fields: those of a configuration are slow to read.

    `spans` as in `ManticoreConfig`; `limits` are the learned positions of each component, None where it has no limit,
    and `vocabularies` the number of ids that each knows.
    """

    spans: list[list[tuple[int, int]]]
    shared_ends: bool
    width: int
    vocab_size: int
    names: list[str]
    limits: list[int | None]
    vocabularies: list[int]
    caches: bool

    @classmethod
    def of(cls, config: ManticoreConfig, vocabularies: list[int]) -> "Layout":
        """The layout that `config` describes."""
        return cls(
            spans=config.spans,
            shared_ends=config.ends == "shared",
            width=config.width,
            vocab_size=config.vocab_size,
            names=config.component_names,
            limits=[entry["positions"] for entry in config.components],
            vocabularies=vocabularies,
            caches=all(entry["stack"]["caches"] for entry in config.components),
        )

    @property
    def blocks(self) -> range:
        """The numbers of the blocks."""
        return range(len(self.spans[0]))


def component_config(entry: dict) -> PreTrainedConfig:
    """The transformers configuration inside an entry of `ManticoreConfig.components`."""
    fields = dict(entry["config"])
    return AutoConfig.for_model(fields.pop("model_type"), **fields)


def component_stack(entry: dict) -> Stack:
    """The layer list described by an entry of `ManticoreConfig.components`."""
    stack = entry["stack"]
    return Stack(stack["path"], tuple(stack["returns"]), stack["caches"], tuple(stack.get("tail", ())))


def kept_layers(entry: dict) -> list[int]:
    """The numbers of the layers that an entry still has."""
    kept = entry.get("kept")
    return list(range(len(entry["stack"]["returns"]))) if kept is None else kept["layers"]


def check_entries(config: ManticoreConfig, *, loaded: bool) -> None:
    """Raises `ManticoreError` where a configuration describes no hybrid, or asks for code that is not installed.

    `loaded` says that the component models are there already, so that nothing of them is built from here.
    """
    try:
        depths = [len(entry["stack"]["returns"]) for entry in config.components]
        edges = [[0, *entry["cuts"], depth] for entry, depth in zip(config.components, depths, strict=True)]
        rising = all(a < b for e in edges for a, b in pairwise(e))
        agreed = len({len(e) for e in edges}) == 1 and config.ends in {"own", "shared"}
        attention = [str(entry["attention"]) for entry in config.components]
        names = [entry["name"] for entry in config.components]
    except (KeyError, TypeError) as error:
        raise ManticoreError(
            f"The configuration of this hybrid is damaged: {error!r}. Save the hybrid anew."
        ) from error
    if not (config.components and rising and agreed):
        raise ManticoreError(
            f"The configuration of this hybrid is damaged: components {names}, of {depths} layers, with blocks at "
            f"{edges} and ends {config.ends!r}. Save the hybrid anew."
        )
    if config.projector_kind not in KINDS:
        raise ManticoreError(
            f"The configuration of this hybrid names projectors of kind {config.projector_kind!r}, and this version "
            f"knows {', '.join(KINDS)}. Use the version that saved it, or a newer one."
        )
    for name, entry, implementation in zip(names, config.components, attention, strict=True):
        if not loaded:
            refuse_unsuitable(name, {**entry["config"], "attention_implementation": implementation}, False)
