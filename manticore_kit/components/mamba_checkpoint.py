"""The checkpoint layout of the original Mamba code (`state-spaces/mamba-*`), read into transformers' Mamba.

The layout has a config.json with `d_model`, `n_layer` and no `model_type`, and one pytorch_model.bin whose names
differ from transformers' in the embedding alone. Sizes that the file leaves out are the original code's defaults.
Source: github.com/state-spaces/mamba, `mamba_ssm/models/config_mamba.py` and `mixer_seq_simple.py`.
"""

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import MambaConfig, MambaForCausalLM

from manticore_kit.errors import ManticoreError

WEIGHTS_FILE = "pytorch_model.bin"
EMBEDDING = "backbone.embeddings.weight"


def is_original_layout(config: Mapping) -> bool:
    """Whether a config.json is the original Mamba code's."""
    return "model_type" not in config and {"d_model", "n_layer"} <= config.keys()


def to_transformers_config(config: Mapping) -> MambaConfig:
    """The transformers configuration of an original Mamba config.json.

    Raises `ManticoreError` for what transformers' Mamba has no counterpart of: Mamba-2 and attention layers, MLPs
    between layers, LayerNorm.
    """
    ssm = dict(config.get("ssm_cfg") or {})
    _refuse_other_layers(config, ssm)
    multiple = config.get("pad_vocab_size_multiple", 8)
    return MambaConfig(
        hidden_size=_size(config, "d_model"),
        num_hidden_layers=_size(config, "n_layer"),
        vocab_size=math.ceil(_size(config, "vocab_size") / multiple) * multiple,
        state_size=ssm.get("d_state", 16),
        conv_kernel=ssm.get("d_conv", 4),
        expand=ssm.get("expand", 2),
        time_step_rank=ssm.get("dt_rank", "auto"),
        use_conv_bias=ssm.get("conv_bias", True),
        use_bias=ssm.get("bias", False),
        residual_in_fp32=config.get("residual_in_fp32", True),
        tie_word_embeddings=config.get("tie_embeddings", True),
    )


def _size(config: Mapping, name: str) -> int:
    size = config.get(name)
    if not isinstance(size, int) or size < 1:
        raise ManticoreError(f"config.json gives {name} as {size!r}, and it must be a whole number from 1 up.")
    return size


def _refuse_other_layers(config: Mapping, ssm: Mapping) -> None:
    other = {
        f"{ssm.get('layer')} layers": ssm.get("layer", "Mamba1") != "Mamba1",
        f"attention at layers {config.get('attn_layer_idx')}": bool(config.get("attn_layer_idx")),
        "MLPs between its layers": bool(config.get("d_intermediate")),
        "LayerNorm": config.get("rms_norm", True) is False,
    }
    if found := [what for what, there in other.items() if there]:
        raise ManticoreError(
            f"the checkpoint has {' and '.join(found)}, and the original layout can be read for pure Mamba-1 models "
            "with RMSNorm only. Use the model's transformers version (its name often ends in `-hf`) instead."
        )


def load_original(config: MambaConfig, weights: Path) -> MambaForCausalLM:
    """The model in `weights`, the pytorch_model.bin of an original Mamba checkpoint.

    Its weights stay in the file and are read where they are used, as safetensors' are: there is one copy of them.
    """
    with torch.device("meta"):
        model: Any = MambaForCausalLM(config)
    # Files older than torch 1.6 are no zip archives and can only be read whole.
    in_place = zipfile.is_zipfile(weights)
    found = torch.load(weights, map_location="cpu", weights_only=True, mmap=in_place)
    state = {name.replace("backbone.embedding.", "backbone.embeddings."): tensor for name, tensor in found.items()}
    if config.tie_word_embeddings and EMBEDDING in state:
        state.setdefault("lm_head.weight", state[EMBEDDING])
    _refuse_misfits(model.state_dict(), state)
    model.load_state_dict(state, assign=True)
    model.tie_weights()
    return model.to(state[EMBEDDING].dtype).eval()


def _refuse_misfits(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    if missing := [name for name in wanted if name not in found]:
        raise ManticoreError(
            f"{WEIGHTS_FILE} lacks weights ({len(missing)} in all), the first {missing[0]}. Weights and config.json "
            "must belong together."
        )
    for name, tensor in wanted.items():
        if found[name].shape != tensor.shape:
            raise ManticoreError(
                f"{WEIGHTS_FILE} has {name} in the shape {tuple(found[name].shape)}; by config.json it must be "
                f"{tuple(tensor.shape)}. Weights and config.json must belong together."
            )
