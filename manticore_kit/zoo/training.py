"""Training the zoo from nothing on the built-in text, with Hugging Face's Trainer.

- A folder appears under its final name only when it is complete: weights, tokenizer and model card.
- Checkpoints lie in a hidden folder beside it, and a build that was cut short goes on from the last one.
- Seeds are fixed and so is the order of the windows: the same machine and versions give the same weights.
"""

import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import transformers
from torch.utils.data import Dataset
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

from manticore_kit.errors import ManticoreError
from manticore_kit.kernels import install_for
from manticore_kit.tasks.language.builtin_text import token_stream
from manticore_kit.zoo import NAMES, model_card
from manticore_kit.zoo.measure import load, losses
from manticore_kit.zoo.specimens import CONTEXT, END, SPECIMENS, Specimen
from manticore_kit.zoo.tokenizer import train_tokenizer

LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.1
BETAS = (0.9, 0.95)
CLIP = 1.0


def build(
    names: Iterable[str] | None = None,
    out: str | Path = "zoo",
    *,
    steps: int | None = None,
    batch: int = 16,
    length: int = CONTEXT,
    seed: int = 0,
    checkpoint_every: int = 250,
) -> list[Path]:
    """Train models of the zoo into folders below `out`, one per name, and return the folders.

    Left out or empty, `names` means all of them; left out, `steps` means each one's own number, which takes an hour
    of processor time in all. A step is `batch` windows of `length` tokens. A folder of the same name is replaced once
    its successor is complete.

    Raises ManticoreError for a name that is not in the zoo and for windows longer than the models' positions.
    """
    chosen = tuple(names or NAMES)
    for name in chosen:
        if name not in SPECIMENS:
            raise ManticoreError(f"{name!r} is not in the tiny zoo; it can build {', '.join(NAMES)}")
    if not 2 <= length <= CONTEXT:
        raise ManticoreError(f"length={length}: a training window has 2 to {CONTEXT} tokens, the models' positions")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    folders = []
    for name in chosen:
        specimen = SPECIMENS[name]
        work = out / f".{name}.training"
        model, spent = _train(specimen, tokenizer, work, steps or specimen.steps, batch, length, seed, checkpoint_every)
        folders.append(_ship(name, specimen, model, tokenizer, spent, out))
        shutil.rmtree(work)
    return folders


class MixedWindows(Dataset):
    """Windows at random places of the two kinds of text; which ones is settled by the seed when it is made."""

    def __init__(self, streams: dict[str, torch.Tensor], prose: float, examples: int, length: int, seed: int):
        rng = np.random.default_rng(seed)
        self.streams = streams
        self.length = length
        self.kinds = np.where(rng.random(examples) < prose, "prose", "code")
        self.places = rng.random(examples)

    def __len__(self) -> int:
        return len(self.kinds)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        stream = self.streams[self.kinds[index]]
        start = int(self.places[index] * (len(stream) - self.length))
        window = stream[start : start + self.length]
        return {"input_ids": window, "labels": window}


class Stopwatch(TrainerCallback):
    """Adds up the seconds of training over interruptions, in a file beside the checkpoints."""

    def __init__(self, work: Path):
        self.file = work / "seconds.json"
        self.before = json.loads(self.file.read_text()) if self.file.exists() else [0.0, 0.0]

    def on_train_begin(self, args, state, control, **kwargs):
        self.start = self._now()

    def on_save(self, args, state, control, **kwargs):
        self.file.write_text(json.dumps(self.seconds))

    def on_train_end(self, args, state, control, **kwargs):
        # Where a training ends early, no checkpoint was written at its end. The others may come after the first process
        # has removed the folder.
        if state.is_world_process_zero:
            self.on_save(args, state, control)

    @property
    def seconds(self) -> list[float]:
        """Seconds by the clock, and of processor time."""
        return [b + now - start for b, now, start in zip(self.before, self._now(), self.start, strict=True)]

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()


def _train(
    specimen: Specimen, tokenizer, work: Path, steps: int, batch: int, length: int, seed: int, checkpoint_every: int
):
    """Return the trained model and what was spent on it, as the card reports it."""
    arguments = TrainingArguments(
        output_dir=str(work),
        max_steps=steps,
        per_device_train_batch_size=batch,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, steps // 20),
        weight_decay=WEIGHT_DECAY,
        adam_beta1=BETAS[0],
        adam_beta2=BETAS[1],
        max_grad_norm=CLIP,
        logging_steps=50,
        save_steps=checkpoint_every,
        save_total_limit=1,
        seed=seed,
        report_to="none",
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    set_seed(seed)
    model = AutoModelForCausalLM.from_config(specimen.config(), dtype=torch.float32)
    install_for(model)
    streams = {kind: token_stream(tokenizer, kind, "train") for kind in ("prose", "code")}
    windows = MixedWindows(streams, specimen.prose, steps * batch, length, seed)
    stopwatch = Stopwatch(work)
    trainer = Trainer(model=model, args=arguments, train_dataset=windows, callbacks=[stopwatch])
    last = get_last_checkpoint(str(work)) if work.is_dir() else None
    trainer.train(resume_from_checkpoint=last)
    spent = {
        "text": {"prose": specimen.prose, "code": round(1 - specimen.prose, 3)},
        "steps": steps,
        "tokens": steps * batch * length,
        "batch": batch,
        "length": length,
        "optimiser": (
            f"AdamW, learning rate {LEARNING_RATE}, betas {BETAS}, weight decay {WEIGHT_DECAY}, gradient norm at most "
            f"{CLIP}, cosine schedule after {arguments.warmup_steps} steps of warm-up"
        ),
        "seed": seed,
        "seconds": round(stopwatch.seconds[0]),
        "processor_seconds": round(stopwatch.seconds[1]),
        "machine": _machine(),
        "python": platform.python_version(),
        "versions": {"torch": str(torch.__version__), "transformers": transformers.__version__},
    }
    return model.cpu(), spent


def _ship(name: str, specimen: Specimen, model, tokenizer, spent: dict, out: Path) -> Path:
    """Write the folder under a hidden name, measure the model as loaded from there, then give it its name."""
    draft = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=out))
    try:
        model.config.use_cache = True  # Trainer turned it off
        model.generation_config = GenerationConfig(**END)
        model.half().save_pretrained(draft)
        model.config.dtype = "float32"  # half precision is for the disk alone: a loaded model computes in float32
        model.config.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        loaded, _ = load(draft)
        model_card.write(draft, name, specimen, loaded, tokenizer, spent, losses(loaded, tokenizer))
        draft.chmod(0o755)  # the temporary folder and the weights are made for their owner's eyes alone
        (draft / "model.safetensors").chmod(0o644)
        final = out / name
        if final.exists():
            shutil.rmtree(final)
        draft.rename(final)
    except BaseException:
        shutil.rmtree(draft)
        raise
    return final


def _machine() -> str:
    if torch.cuda.is_available():
        return f"one {torch.cuda.get_device_name()}"
    cores, threads = os.cpu_count(), torch.get_num_threads()
    used = "one thread" if threads == 1 else f"{threads} threads"
    return f"{cores} CPU cores ({platform.machine()}), {used}"
