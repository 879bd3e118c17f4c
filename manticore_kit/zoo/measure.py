"""The losses that a model card reports, measured on the model as anybody loads it."""

import platform
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

from manticore_kit.kernels import install_for
from manticore_kit.tasks.language import builtin_text
from manticore_kit.tasks.language.evaluate import per_example_losses

LENGTH, COUNT = 128, 64  # tokens per window and windows per kind: the default of builtin_text.held_out
KINDS = ("prose", "code")


def load(folder: Path):
    """Return (model, tokenizer) of a folder; weights are kept in half precision on disk and are float32 here."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    install_for(model)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def losses(model, tokenizer) -> dict:
    """Return held-out nats per token on prose and on code, with what is needed to repeat the measurement."""
    windows = {kind: builtin_text.held_out(tokenizer, kind, length=LENGTH, count=COUNT) for kind in KINDS}
    return {
        "length": LENGTH,
        "count": COUNT,
        "python": platform.python_version(),
        "fingerprint": {kind: builtin_text.fingerprint(kind, "held-out") for kind in KINDS},
        "loss": {kind: round(float(per_example_losses(model, windows[kind]).mean()), 4) for kind in KINDS},
    }
