"""Sequences with a rule, and tiny models that learned one or none: what the best mixture of them is can be known."""

import torch
from families import tiny

from manticore_kit import ManticoreForCausalLM
from manticore_kit.training.data import Text
from manticore_kit.training.settings import TrainingSettings


def counting(step: int, count: int, seed: int, length: int = 12) -> torch.Tensor:
    """Windows (count, length) that go up by `step` from a random number."""
    first = torch.randint(0, 90, (count, 1), generator=torch.Generator().manual_seed(seed))
    return 3 + (first + step * torch.arange(length)) % 90


def taught(family: str, windows: torch.Tensor, *, steps: int, seed: int = 0):
    """A tiny model that was trained on `windows`."""
    model = tiny(family, seed=seed, depth=2).train()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(steps):
        model(windows, labels=windows).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def text_of(windows: torch.Tensor, held_out: int = 8) -> Text:
    """All windows for training and for the search, a few of them to report on."""
    return Text({"toy": windows}, {"toy": windows}, {"toy": windows[:held_out]}, {"toy": 1.0})


def hybrid_of(*families: str, blocks: int = 2, **arguments) -> ManticoreForCausalLM:
    """A hybrid of random tiny models, the same at each call."""
    models = [tiny(family, seed=seed) for seed, family in enumerate(families or ("gpt_neo", "mamba"))]
    return ManticoreForCausalLM.from_components(models, blocks=blocks, **arguments)


def small_settings(**changes) -> TrainingSettings:
    """A few quick steps."""
    rates = {"components": 1e-3, "projectors": 1e-3, "embeddings": 1e-3, "mixture": 0.1}
    data = {"steps": 6, "batch_size": 4, "learning_rates": rates, "checkpoint_every": 2, "evaluate_every": 3}
    return TrainingSettings.parse({**data, **changes})
