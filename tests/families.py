"""Tiny random models of many families, made by shrinking each family's own default configuration.

Nothing here knows an architecture's forward; a few families need settings that agree with one another.
"""

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCABULARY = 97
LARGEST = 20_000_000  # parameters; what is larger has parts that the common settings do not shrink


def _extra(family: str, width: int, depth: int) -> dict:
    """Settings that a family needs beside the common ones."""
    half = [i % 2 for i in range(depth)]
    state_space = {"mamba_n_heads": width // 4, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 8}
    return {
        "bamba": {**state_space, "attn_layer_indices": [1]},
        "codegen": {"rotary_dim": 4},
        "deepseek_v3": {
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 4,
            "v_head_dim": 8,
            "kv_lora_rank": 8,
            "q_lora_rank": 8,
            "n_group": 1,
            "topk_group": 1,
            "num_key_value_heads": 4,
            "head_dim": 4,
        },
        "falcon_h1": {**state_space, "mamba_d_ssm": 2 * width},
        "gpt_neo": {"attention_types": [[[("global", "local")[i] for i in half], 1]], "window_size": 4},
        "gptj": {"rotary_dim": 4},
        "granitemoehybrid": {**state_space, "layer_types": [("mamba", "attention")[i] for i in half]},
        "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 4},
        "llama4_text": {"intermediate_size_mlp": width},
        "mamba2": {"num_heads": width // 4, "head_dim": 8, "state_size": 8, "n_groups": 1},
        "nemotron_h": {"mamba_num_heads": 4, "mamba_head_dim": 8, "ssm_state_size": 8, "n_groups": 1, "chunk_size": 8},
        "qwen3_next": {"layer_types": [("linear_attention", "full_attention")[i] for i in half]},
        "recurrent_gemma": {"lru_width": width},
        "stablelm": {"head_dim": 8} if width // 4 % 8 else {},
        "xlstm": {"num_heads": 4},
    }.get(family, {})


def tiny(family: str, *, width: int = 32, depth: int = 4, seed: int = 0):
    """A random model of `family` in evaluation mode: `width` (a multiple of 32), `depth` layers, 97 tokens."""
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
    if family == "falcon":
        del settings["head_dim"]  # a property there
    if hasattr(default, "num_experts_per_tok"):
        settings["num_experts_per_tok"] = 2
    if isinstance(getattr(default, "rope_parameters", None), dict):
        settings.pop("rope_parameters", None)
    settings |= _extra(family, width, depth)
    config = AutoConfig.for_model(family, **settings)
    with torch.device("meta"):
        size = AutoModelForCausalLM.from_config(config).num_parameters()
    if size > LARGEST:
        raise ValueError(f"{family}: {size:,} parameters; it needs settings of its own to be tiny")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def all_families() -> list[str]:
    """Every model type that transformers has a causal language model for."""
    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
