"""The README.md of a zoo model: YAML that programs read, then what a person should know."""

from pathlib import Path

import torch
import yaml
from transformers import set_seed

from manticore_kit.zoo.specimens import Specimen

PROMPTS = ("The built-in function", "Return the", "def read(self", "import os\n")
_SAMPLE_TOKENS = 80

_BODY = """
# {name}

A language model of {parameters:,} parameters: the architecture of {kinship}, {layers} layers, width {width},
trained from nothing on text that ships with every Python. It exists so that pretrained hybrids can be built, searched
and drawn on any machine, with no network and no GPU. It is a specimen to take apart, and no assistant.

## Text

{prose:.0%} of the training windows are prose (the language reference in `pydoc_data.topics` and the docstrings of the
standard library), {code:.0%} are code (the standard library's sources), as shipped with Python {python}. Both are
© Python Software Foundation and contributors, under the PSF licence version 2
(https://docs.python.org/3/license.html). Documents are held out by a hash of their name, and paragraphs that held-out
documents contain are struck from the training text.

## What was spent

{steps:,} steps of {batch} windows of {length} tokens, {tokens:,} tokens in all: {minutes:.0f} minutes by the clock and
{processor_minutes:.0f} of processor time on {machine}.
{optimiser}. Seed {seed}.

## Held-out loss

Nats per token, mean over {count} windows of {window} tokens, evenly spaced over the held-out text of each kind,
{predictions} predictions per window, measured on the weights as loaded from this folder (stored in float16, computed
in float32):

| prose | code |
|---|---|
| {loss_prose:.3f} | {loss_code:.3f} |

The text differs between versions of Python, and the loss with it; the fingerprints above say which text it was.

## Samples

First draws, not chosen: temperature 0.8, the 40 likeliest tokens, seed 0. The prompt is the first line's start.

{samples}

## Limits

It knows the vocabulary, the typography and the local syntax of Python and its documentation, and little else: it states
nothing reliably, its code seldom runs, and it can repeat passages of its training text word for word. Its context is
{context}.
"""


def write(folder: Path, name: str, specimen: Specimen, model, tokenizer, spent: dict, held_out: dict) -> None:
    """Write README.md for a trained model; `spent` and `held_out` are kept whole in its machine-readable part."""
    config = model.config
    positions = getattr(config, "max_position_embeddings", None)
    front = {
        "license": "apache-2.0",
        "language": ["en"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "model": name,
        "architecture": type(model).__name__,
        "parameters": model.num_parameters(),
        "width": config.hidden_size,
        "layers": config.num_hidden_layers,
        "vocabulary": config.vocab_size,
        "positions": positions,
        "training": spent,
        "held_out": held_out,
    }
    body = _BODY.format(
        **{**spent, **front},
        name=name,
        kinship=specimen.kinship,
        **spent["text"],
        minutes=spent["seconds"] / 60,
        processor_minutes=spent["processor_seconds"] / 60,
        count=held_out["count"],
        window=held_out["length"],
        predictions=held_out["length"] - 1,
        loss_prose=held_out["loss"]["prose"],
        loss_code=held_out["loss"]["code"],
        samples="\n".join(_sample(model, tokenizer, prompt) for prompt in PROMPTS),
        context=f"{positions} tokens" if positions else "unbounded in principle; it was trained on windows only",
    )
    text = f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=200)}---\n{body}"
    (folder / "README.md").write_text(text, encoding="utf-8")


@torch.inference_mode()
def _sample(model, tokenizer, prompt: str) -> str:
    set_seed(0)
    inputs = tokenizer(prompt, return_tensors="pt")
    ids = model.generate(**inputs, max_new_tokens=_SAMPLE_TOKENS, do_sample=True, temperature=0.8, top_k=40)
    text = tokenizer.decode(ids[0], skip_special_tokens=True).rstrip()
    return f"````text\n{text}\n````\n"
