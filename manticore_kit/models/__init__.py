"""Architectures that transformers lacks, each an ordinary transformers causal language model.

Importing this package makes `AutoConfig` and `AutoModelForCausalLM` know them, so that they can be loaded, saved, named
in a recipe and mixed like any other.
"""

from transformers import AutoConfig, AutoModelForCausalLM

from manticore_kit.models.architectures import (
    HyenaForCausalLM,
    MadForCausalLM,
    MambaFormerForCausalLM,
    StripedHyenaForCausalLM,
)
from manticore_kit.models.configuration import HyenaConfig, MadConfig, MambaFormerConfig, StripedHyenaConfig
from manticore_kit.models.stack import StackForCausalLM

# Model type to class.
ARCHITECTURES: dict[str, type[StackForCausalLM]] = {
    each.config_class.model_type: each
    for each in (MadForCausalLM, HyenaForCausalLM, StripedHyenaForCausalLM, MambaFormerForCausalLM)
}

for _each in ARCHITECTURES.values():
    AutoConfig.register(_each.config_class.model_type, _each.config_class, exist_ok=True)
    AutoModelForCausalLM.register(_each.config_class, _each, exist_ok=True)

__all__ = [
    "ARCHITECTURES",
    "HyenaConfig",
    "HyenaForCausalLM",
    "MadConfig",
    "MadForCausalLM",
    "MambaFormerConfig",
    "MambaFormerForCausalLM",
    "StripedHyenaConfig",
    "StripedHyenaForCausalLM",
]
