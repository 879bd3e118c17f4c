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

_CLASSES = {
    MadConfig: MadForCausalLM,
    HyenaConfig: HyenaForCausalLM,
    StripedHyenaConfig: StripedHyenaForCausalLM,
    MambaFormerConfig: MambaFormerForCausalLM,
}
# Model type to class.
ARCHITECTURES: dict[str, type[StackForCausalLM]] = {config.model_type: model for config, model in _CLASSES.items()}

for _config, _model in _CLASSES.items():
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModelForCausalLM.register(_config, _model, exist_ok=True)

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
