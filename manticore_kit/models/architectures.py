"""The architectures by name; what each is made of is in its configuration."""

from manticore_kit.models.configuration import HyenaConfig, MadConfig, MambaFormerConfig, StripedHyenaConfig
from manticore_kit.models.stack import StackForCausalLM


class MadForCausalLM(StackForCausalLM):
    """MAD's stack of one kind of mixer (Poli et al. 2024, arXiv 2403.17844, section 3)."""

    config_class = MadConfig


class HyenaForCausalLM(StackForCausalLM):
    """Hyena (Poli et al. 2023, arXiv 2302.10866), or multi-head Hyena (Massaroli et al. 2023, arXiv 2310.18780)."""

    config_class = HyenaConfig


class StripedHyenaForCausalLM(StackForCausalLM):
    """StripedHyena: Hyena and attention in turn (Poli et al. 2024, arXiv 2403.17844)."""

    config_class = StripedHyenaConfig


class MambaFormerForCausalLM(StackForCausalLM):
    """MambaFormer: Mamba, then attention and Mamba in turn, no positions (Park et al. 2024, arXiv 2402.04248)."""

    config_class = MambaFormerConfig
