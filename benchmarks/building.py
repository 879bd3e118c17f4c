"""Memory that building a hybrid takes, as a multiple of the bytes of its weights (parameters and buffers).

    python benchmarks/building.py

Prints a Markdown table. Models with random weights are saved in a temporary folder, in shards, and each build runs in a
process of its own. Two figures are taken above what the process had before:

- *held*: the highest sum of anonymous and shared memory, sampled every millisecond, plus the weights that lie over
  their file on disk at the end. This is what a machine must have.
- *resident*: the highest resident set that the system noted. It counts every page of a file that was looked at while
  the file was open, also where no weight lies over it any more; those are the system's to take back when it needs them.

Before it is measured, a process has built a hybrid of tiny models of the same families, so that code and text which are
loaded once, whatever the size of the models, are not counted.
"""

import ctypes
import json
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import torch
import typer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPTNeoConfig, GPTNeoForCausalLM, MambaConfig, MambaForCausalLM, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from manticore_kit import Recipe, build

TARGET = "<= 1.2"
SHARDS = "100MB"
WARM_UP = [{"model": "tiny-gptneo"}, {"model": "tiny-mamba"}]
# Which models are joined, and what of the recipe is not the identity on the components' own tokens.
CASES: dict[str, tuple[list[str], dict]] = {
    "float32": (["gptneo-float32", "mamba-float32"], {}),
    "bfloat16": (["gptneo-bfloat16", "mamba-bfloat16"], {}),
    "bfloat16 with float32": (["gptneo-bfloat16", "mamba-float32"], {}),
    "original Mamba checkpoint": (["gptneo-float32", "mamba-original"], {}),
    "another tokenizer": (["gptneo-float32", "mamba-float32"], {"tokenizer": "words"}),
    "aligned start": (["gptneo-float32", "mamba-float32"], {"projector": {"init": "aligned"}}),
}


def measure(
    cases: Iterable[str] = tuple(CASES),
    *,
    builds: int = 3,
    width: int = 768,
    layers: int = 12,
    vocabulary: int = 50257,
) -> list[dict]:
    """A row for each of `cases` and figure: name, median, low, high, unit and target, over `builds` processes.

    GPT-Neo has `layers` layers and Mamba twice as many, which have about the same size: by default that of GPT-Neo 125M
    and Mamba 130M, 1 GB together in float32.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        make_models(Path(folder), width, layers, vocabulary)
        for case in cases:
            recipe = _recipe(Path(folder), *CASES[case])
            peaks = [_in_a_fresh_process(recipe) for _ in range(builds)]
            for figure, target in {"held": TARGET, "resident": ""}.items():
                values = [peak[figure] / peak["weights"] for peak in peaks]
                spread = {"median": median(values), "low": min(values), "high": max(values)}
                rows.append({"name": f"{case}: {figure}", **spread, "unit": "× the weights", "target": target})
    return rows


# -------------------------------------------------------------------------------------------------------- the models


def make_models(folder: Path, width: int, layers: int, vocabulary: int) -> None:
    """Saves what `CASES` names, and a tokenizer of `vocabulary` words that none of the models knows."""
    common: dict[str, Any] = {"hidden_size": width, "vocab_size": vocabulary}
    common |= {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    torch.manual_seed(0)
    gptneo = GPTNeoForCausalLM(
        GPTNeoConfig(**common, num_layers=layers, attention_types=[[["global"], layers]], num_heads=width // 64)
    )
    mamba = MambaForCausalLM(MambaConfig(**common, num_hidden_layers=2 * layers))
    _save_original(folder / "mamba-original", mamba)
    for dtype in ("float32", "bfloat16"):
        for name, model in {"gptneo": gptneo, "mamba": mamba}.items():
            model.to(getattr(torch, dtype)).save_pretrained(folder / f"{name}-{dtype}", max_shard_size=SHARDS)
    words = models.WordLevel({f"w{i}": i for i in range(vocabulary)}, unk_token="w0")
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="w0").save_pretrained(folder / "words")
    for name in ("gptneo-float32", "mamba-float32"):
        _zoo_tokenizer().save_pretrained(folder / name)


def _save_original(folder: Path, model: MambaForCausalLM) -> None:
    """As the original Mamba code saves its models."""
    folder.mkdir()
    sizes = {"d_model": "hidden_size", "n_layer": "num_hidden_layers", "vocab_size": "vocab_size"}
    config = {name: getattr(model.config, size) for name, size in sizes.items()}
    (folder / "config.json").write_text(json.dumps({**config, "pad_vocab_size_multiple": 1}))
    weights = {name.replace("embeddings.", "embedding."): tensor for name, tensor in model.state_dict().items()}
    torch.save(weights, folder / "pytorch_model.bin")


def _zoo_tokenizer() -> PreTrainedTokenizerFast:
    from manticore_kit.components import load_tokenizer

    return load_tokenizer("tiny-gptneo")  # pyright: ignore[reportReturnType]


def _recipe(folder: Path, names: list[str], settings: dict) -> dict:
    components = [{"model": str(folder / name)} for name in names]
    settings = {"projector": {"init": "identity"}, **settings}
    if "tokenizer" in settings:
        settings["tokenizer"] = str(folder / settings["tokenizer"])
    return {"components": components, **settings}


# --------------------------------------------------------------------------------------------------------- one build


def _in_a_fresh_process(recipe: dict) -> dict[str, int]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(peak_of_build, recipe).result()


def peak_of_build(recipe: dict) -> dict[str, int]:
    """Bytes of the weights of the hybrid that `recipe` describes, and what its building held at most, in this process.

    Linux only: it reads the process's own figures under /proc.
    """
    disable_progress_bar()
    build(Recipe.parse({"components": WARM_UP, "projector": recipe["projector"]}))
    ctypes.CDLL(None).malloc_trim(0)  # what the warm-up freed must not serve the build unseen
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident set begins anew
    before = _status()
    with _highest("RssAnon", "RssShmem") as held:
        hybrid = build(Recipe.parse(recipe))
    tensors = {t.data_ptr(): t.nbytes for t in [*hybrid.parameters(), *hybrid.buffers()]}
    files = _mapped_files()
    on_file = sum(size for start, size in tensors.items() if any(start in pages for pages in files))
    return {
        "weights": sum(tensors.values()),
        "held": held[0] - before["RssAnon"] - before["RssShmem"] + on_file,
        "resident": _status()["VmHWM"] - before["VmRSS"],
    }


@contextmanager
def _highest(*figures: str) -> Iterator[list[int]]:
    """A list whose one number is the highest sum of `figures` inside the context, sampled every millisecond."""
    highest, ended = [0], threading.Event()

    def sample() -> None:
        while not ended.is_set():
            now = _status()
            highest[0] = max(highest[0], sum(now[figure] for figure in figures))
            time.sleep(0.001)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield highest
    finally:
        ended.set()
        thread.join()


def _status() -> dict[str, int]:
    """This process's memory figures, in bytes."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[-1] == "kB"}


def _mapped_files() -> list[range]:
    """The addresses at which files lie in this process's memory."""
    lines = (line.split() for line in Path("/proc/self/maps").read_text().splitlines())
    ends = [words[0].split("-") for words in lines if len(words) > 5 and words[5].startswith("/")]
    return [range(int(first, 16), int(last, 16)) for first, last in ends]


def main(builds: int = 3) -> None:
    """Build each kind of hybrid in a few fresh processes and print a table."""
    disable_progress_bar()
    rows = measure(builds=builds)
    print(f"torch {torch.__version__}, medians of {builds} builds, each in a process of its own\n")
    print("| | × the weights | range | bound |")
    print("|---|---:|---:|---:|")
    for row in rows:
        print(f"| {row['name']} | {row['median']:.2f} | {row['low']:.2f}–{row['high']:.2f} | {row['target'] or '–'} |")


if __name__ == "__main__":
    typer.run(main)
