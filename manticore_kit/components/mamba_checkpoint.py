"""The checkpoint layout of the original Mamba code (`state-spaces/mamba-*`), read into transformers' Mamba.

The layout has a config.json with `d_model`, `n_layer` and no `model_type`, and one pytorch_model.bin whose names
differ from transformers' in the embedding alone. Sizes that the file leaves out are the original code's defaults.
Source: github.com/state-spaces/mamba, `mamba_ssm/models/config_mamba.py` and `mixer_seq_simple.py`.
"""

import math
from pathlib import Path

import torch
from torch import Tensor
from transformers import MambaConfig, MambaForCausalLM

from manticore_kit.errors import ManticoreError


def is_original_layout(config: dict) -> bool:
    """Whether a config.json is the original Mamba code's."""
    return "model_type" not in config and {"d_model", "n_layer"} <= config.keys()


def to_transformers_config(config: dict) -> MambaConfig:
    """The transformers configuration of an original Mamba config.json."""
    ssm = dict(config.get("ssm_cfg") or {})
    version = ssm.pop("layer", "Mamba1")
    if version != "Mamba1" or config.get("attn_layer_idx"):
        raise ManticoreError(
            f"the checkpoint's layers are {version!r} (attention at {config.get('attn_layer_idx') or 'no layer'}); the "
            "original layout can be read for pure Mamba-1 models only. Use the model's transformers version instead."
        )
    width, expand = config["d_model"], ssm.get("expand", 2)
    multiple = config.get("pad_vocab_size_multiple", 8)
    rank = ssm.get("dt_rank", "auto")
    return MambaConfig(
        hidden_size=width,
        num_hidden_layers=config["n_layer"],
        vocab_size=math.ceil(config["vocab_size"] / multiple) * multiple,
        state_size=ssm.get("d_state", 16),
        conv_kernel=ssm.get("d_conv", 4),
        expand=expand,
        intermediate_size=expand * width,
        time_step_rank=math.ceil(width / 16) if rank == "auto" else rank,
        residual_in_fp32=config.get("residual_in_fp32", True),
        tie_word_embeddings=config.get("tie_embeddings", True),
    )


def load_original(config: dict, weights: Path) -> MambaForCausalLM:
    """The model in `weights`, the pytorch_model.bin of an original Mamba checkpoint."""
    model = MambaForCausalLM(to_transformers_config(config))
    state: dict[str, Tensor] = torch.load(weights, map_location="cpu", weights_only=True)
    renamed = {name.replace("backbone.embedding.", "backbone.embeddings."): t for name, t in state.items()}
    if "lm_head.weight" not in renamed and model.config.tie_word_embeddings:
        renamed["lm_head.weight"] = renamed["backbone.embeddings.weight"]
    model.load_state_dict(renamed)
    return model.to(next(iter(renamed.values())).dtype).eval()
