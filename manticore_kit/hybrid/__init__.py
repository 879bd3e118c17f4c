"""The hybrid: gated projectors, a mixture row per block, and the model made of them.

Importing this module makes `AutoConfig`, `AutoModelForCausalLM` and pipelines know hybrids.
"""

from transformers import AutoConfig, AutoModelForCausalLM

from manticore_kit.hybrid.building import alignment_text, build
from manticore_kit.hybrid.cache import HybridCache
from manticore_kit.hybrid.configuration import ManticoreConfig
from manticore_kit.hybrid.modeling import ManticoreForCausalLM, rounded_rows

AutoConfig.register("manticore", ManticoreConfig, exist_ok=True)
AutoModelForCausalLM.register(ManticoreConfig, ManticoreForCausalLM, exist_ok=True)

__all__ = ["HybridCache", "ManticoreConfig", "ManticoreForCausalLM", "alignment_text", "build", "rounded_rows"]
