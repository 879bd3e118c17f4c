"""What each model of the zoo is and what it is trained on, as data.

The three differ in every way that a hybrid has to cope with: attention with learned positions, attention with rotary
positions and no attention at all; widths 128 and 96; 4 and 6 layers; tied and untied heads; a padded vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transformers import GPTNeoConfig, GPTNeoXConfig, MambaConfig, PretrainedConfig

VOCABULARY = 2048  # tokens of the shared tokenizer
CONTEXT = 256  # tokens per training window, and the positions of the two attention models

# The end-of-text token begins, ends and pads: the tokenizer has no other special token.
END: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}


@dataclass(frozen=True)
class Specimen:
    """One model of the zoo before training."""

    config: Callable[[], PretrainedConfig]
    prose: float  # share of the training windows that are prose; the others are code
    steps: int  # optimiser steps of the model that is shipped
    kinship: str  # the published family that it is a small sibling of


def _gptneo() -> PretrainedConfig:
    return GPTNeoConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        num_layers=4,
        attention_types=[[["global", "local"], 2]],
        num_heads=4,
        window_size=64,
        max_position_embeddings=CONTEXT,
        **END,
    )


def _pythia() -> PretrainedConfig:
    return GPTNeoXConfig(
        vocab_size=VOCABULARY + 128,  # padded, as the published models pad theirs
        hidden_size=96,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=384,
        max_position_embeddings=CONTEXT,
        **END,
    )


def _mamba() -> PretrainedConfig:
    return MambaConfig(vocab_size=VOCABULARY, hidden_size=128, num_hidden_layers=6, state_size=16, expand=2, **END)


SPECIMENS = {
    "tiny-gptneo": Specimen(_gptneo, prose=0.9, steps=2200, kinship="GPT-Neo (EleutherAI)"),
    "tiny-pythia": Specimen(_pythia, prose=0.5, steps=2200, kinship="Pythia (GPT-NeoX, EleutherAI)"),
    "tiny-mamba": Specimen(_mamba, prose=0.1, steps=1400, kinship="Mamba (Gu and Dao)"),
}
