"""The models that are measured: small ones with random weights, since time does not depend on what was learned."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.clock import Clock
from manticore_kit import ManticoreForCausalLM
from manticore_kit.components import Loaded, load

VOCABULARY = 1000
LONGEST = 4096  # learned positions of GPT-Neo

# No token ends a text, so that every generation is as long as it was asked to be.
SPECIAL = {"bos_token_id": 0, "eos_token_id": None, "pad_token_id": 0}
# In training no model keeps a cache: a hybrid does not, and the others are told so here.
COMMON = {"vocab_size": VOCABULARY, "use_cache": False, **SPECIAL}


def gptneo(clock: Clock, width: int = 128, depth: int = 4) -> Loaded:
    """GPT-Neo: attention, every other layer local, with learned positions."""
    kinds = [("global", "local")[layer % 2] for layer in range(depth)]
    settings = {
        "hidden_size": width,
        "num_layers": depth,
        "attention_types": [[kinds, 1]],
        "num_heads": _heads(width),
        "max_position_embeddings": LONGEST,
    }
    return _on(clock, load("gpt_neo", config={**COMMON, **settings}))


def mamba(clock: Clock, width: int = 128, depth: int = 4) -> Loaded:
    """Mamba: selective state spaces."""
    return _on(clock, load("mamba", config={**COMMON, "hidden_size": width, "num_hidden_layers": depth}))


def pythia(clock: Clock, width: int = 128, depth: int = 4) -> Loaded:
    """Pythia (GPT-NeoX): attention with rotary positions."""
    settings = {
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": _heads(width),
        "intermediate_size": 4 * width,
        "max_position_embeddings": LONGEST,
    }
    return _on(clock, load("gpt_neox", config={**COMMON, **settings}))


FAMILIES: dict[str, Callable[..., Loaded]] = {"GPT-Neo": gptneo, "Mamba": mamba, "Pythia": pythia}


def hybrid_of(components: list[Loaded], blocks: int = 2) -> ManticoreForCausalLM:
    """The hybrid of `components` at the uniform mixture; it shares their weights."""
    return ManticoreForCausalLM.from_components(components, blocks=blocks)


def token_ids(clock: Clock, batch: int, length: int) -> Tensor:
    """Random ids (batch, length)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(VOCABULARY, (batch, length), generator=generator).to(clock.device)


def _heads(width: int) -> int:
    return max(4, width // 64)


def _on(clock: Clock, loaded: Loaded) -> Loaded:
    loaded.component.model.to(clock.device)
    return loaded


def scan_inputs(batch: int, channels: int, length: int, state: int, seed: int = 0) -> dict[str, Tensor]:
    """Inputs with the sizes, signs and strides that a Mamba mixer hands to its scan."""
    generator = torch.Generator().manual_seed(seed)

    def time_last(width: int) -> Tensor:
        # The mixer's projections have the width last and are transposed for the scan.
        return torch.randn(batch, length, width, generator=generator).transpose(1, 2)

    inputs = {
        "hidden_states": time_last(channels),
        "dt": time_last(channels) - 4,  # softplus(-4) is about 0.02, a usual time step after initialisation
        "A": -torch.arange(1.0, state + 1).repeat(channels, 1),
        "B": time_last(state),
        "C": time_last(state),
        "D": torch.ones(channels),
        "z": time_last(channels),
        "delta_bias": torch.zeros(channels),
    }
    return {name: tensor.requires_grad_() for name, tensor in inputs.items()}
