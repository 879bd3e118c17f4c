"""Tiny random models of many families, made by shrinking each family's own default configuration.

Nothing here knows an architecture's forward; a few families need settings that agree with one another.
"""

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCABULARY = 97

# Settings that a family needs beside the common ones.
EXTRA = {
    "bamba": {
        "mamba_n_heads": 8,
        "mamba_d_head": 8,
        "mamba_n_groups": 1,
        "mamba_d_state": 8,
        "attn_layer_indices": [1],
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "window_size": 4},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 4},
    "mamba2": {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1},
    "granitemoehybrid": {
        "mamba_n_heads": 8,
        "mamba_d_head": 8,
        "mamba_n_groups": 1,
        "layer_types": ["mamba", "attention"] * 2,
    },
    "recurrent_gemma": {"lru_width": 32},
}


def tiny(family: str, *, width: int = 32, depth: int = 4, seed: int = 0):
    """A random model of `family` in evaluation mode: `width` (a multiple of 8), `depth` layers, 97 tokens."""
    default = AutoConfig.for_model(family)
    common = {
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": width // 4,
        "intermediate_size": 2 * width,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    settings = {name: value for name, value in common.items() if hasattr(default, name)}
    for name in ("num_local_experts", "n_routed_experts", "num_experts"):
        if hasattr(default, name):
            settings[name] = 4
    for name in ("moe_intermediate_size", "shared_expert_intermediate_size", "ffn_dim", "word_embed_proj_dim"):
        if hasattr(default, name):
            settings[name] = width
    if hasattr(default, "num_experts_per_tok"):
        settings["num_experts_per_tok"] = 2
    if isinstance(getattr(default, "rope_parameters", None), dict):
        settings.pop("rope_parameters", None)
    settings |= EXTRA.get(family, {})
    config = AutoConfig.for_model(family, **settings)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def all_families() -> list[str]:
    """Every model type that transformers has a causal language model for."""
    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
