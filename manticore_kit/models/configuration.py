"""Sizes of the architectures, and which mixer each layer of them has; the defaults are MAD's (arXiv 2403.17844).

`layer_mixers` is no field: transformers keeps the name `layer_types` for kinds of cache, of which there are none here.
"""

import math
from typing import ClassVar

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from manticore_kit.errors import ManticoreError

MIXERS = ("attention", "mamba", "hyena", "multihead_hyena")


@strict
class StackConfig(PreTrainedConfig):
    """A stack of pre-norm residual layers; which mixer each has is for the subclasses to say (`layer_mixers`).

    `intermediate_size` is the inner width of the SwiGLU after each mixer, 0 for none; left out, it is 8/3 of the width
    rounded up to a multiple of 16, or 0 where the architecture has none. `rope_theta` of None is attention without
    positions. `state_size`, `conv_kernel`, `expand` and `time_step_rank` are those of transformers' Mamba.

    For Hyena, `hyena_expand` times the width are the channels of its long convolution, its projections are shared in
    `hyena_groups`, and `num_hyena_heads` counts the heads of the multi-head form. `filter_width` is the width of the
    network that gives the long filter, and `filter_time_scale` the number of tokens that make 1 on its axis of time;
    filters go on beyond that, so no length is too long. What is left out takes MAD's value for the form at hand.
    """

    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]

    vocab_size: int = 16
    hidden_size: int = 128
    num_hidden_layers: int = 2
    intermediate_size: int | None = None
    rms_norm_eps: float = 1e-5
    initializer_range: float = 0.02
    num_attention_heads: int = 16
    rope_theta: float | int | None = 10000.0
    state_size: int = 4
    conv_kernel: int = 4
    expand: int = 2
    time_step_rank: int | str = "auto"
    hyena_expand: int | None = None
    hyena_groups: int | None = None
    num_hyena_heads: int = 16
    short_conv_kernel: int = 3
    filter_width: int | None = None
    filter_time_scale: int = 128
    tie_word_embeddings: bool = False
    use_cache: bool = False
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs):
        many = "multihead_hyena" in self.layer_mixers
        if self.hyena_expand is None:
            self.hyena_expand = 1 if many else 4
        if self.hyena_groups is None:
            self.hyena_groups = 1 if many else 4
        if self.filter_width is None:
            self.filter_width = 2 if many else 4
        if self.intermediate_size is None:
            self.intermediate_size = 16 * math.ceil(8 * self.hidden_size / 3 / 16) if self.has_channel_mixers else 0
        self._check_sizes()
        super().__post_init__(**kwargs)

    @property
    def layer_mixers(self) -> list[str]:
        """The mixer of each layer, of `MIXERS`."""
        return []

    @property
    def has_channel_mixers(self) -> bool:
        """Whether each mixer is followed by a SwiGLU where `intermediate_size` is left out."""
        return True

    @property
    def hyena_channels(self) -> int:
        """Channels of each of Hyena's three projections."""
        assert self.hyena_expand is not None
        return self.hyena_expand * self.hidden_size

    def _check_sizes(self) -> None:
        """Raises `ManticoreError` for sizes that make no model."""
        for name in _COUNTS:
            least = 0 if name == "intermediate_size" else 1
            if isinstance(value := getattr(self, name), int) and value < least:
                raise ManticoreError(f"{name} is {value}; it must be {least} or more.")
        mixers = set(self.layer_mixers)
        if "attention" in mixers:
            size = _part_of("hidden_size", self.hidden_size, "num_attention_heads", self.num_attention_heads)
            if self.rope_theta is not None and size % 2:
                raise ManticoreError(
                    f"hidden_size {self.hidden_size} in {self.num_attention_heads} heads makes heads of {size}, an odd "
                    "number, and rotary positions turn channels in pairs. Change num_attention_heads, or set "
                    "rope_theta to null for attention without positions."
                )
        if mixers & {"hyena", "multihead_hyena"}:
            _part_of("hidden_size × hyena_expand", self.hyena_channels, "hyena_groups", self.hyena_groups)
        if "multihead_hyena" in mixers:
            _part_of("hidden_size × hyena_expand", self.hyena_channels, "num_hyena_heads", self.num_hyena_heads)


_COUNTS = (
    "vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads", "state_size",
    "conv_kernel", "expand", "time_step_rank", "hyena_expand", "hyena_groups", "num_hyena_heads", "short_conv_kernel",
    "filter_width", "filter_time_scale",
)  # fmt: skip


def _part_of(name: str, whole: int, divisor: str, parts: int | None) -> int:
    assert parts is not None
    if whole % parts:
        raise ManticoreError(f"{name} is {whole}, which {divisor} ({parts}) does not divide. Change either.")
    return whole // parts


@strict
class MadConfig(StackConfig):
    """MAD's plain stack: the same `mixer` in every layer, of `attention`, `mamba`, `hyena` and `multihead_hyena`.

    A SwiGLU follows each mixer except Mamba's, unless `intermediate_size` says otherwise.
    """

    model_type = "mad"

    mixer: str = "attention"

    @property
    def layer_mixers(self) -> list[str]:
        """The mixer of each layer."""
        return [self.mixer] * self.num_hidden_layers

    @property
    def has_channel_mixers(self) -> bool:
        """Whether each mixer is followed by a SwiGLU where `intermediate_size` is left out."""
        return self.mixer != "mamba"

    def _check_sizes(self) -> None:
        if self.mixer not in MIXERS:
            raise ManticoreError(f"mixer is {self.mixer!r}; it must be one of {', '.join(MIXERS)}.")
        super()._check_sizes()


@strict
class HyenaConfig(StackConfig):
    """Hyena in every layer, with `multi_head` in its multi-head form."""

    model_type = "hyena"

    multi_head: bool = False

    @property
    def layer_mixers(self) -> list[str]:
        """The mixer of each layer."""
        return ["multihead_hyena" if self.multi_head else "hyena"] * self.num_hidden_layers


@strict
class StripedHyenaConfig(StackConfig):
    """Hyena and attention in turn, Hyena first, with `multi_head` in its multi-head form."""

    model_type = "striped_hyena"

    multi_head: bool = False

    @property
    def layer_mixers(self) -> list[str]:
        """The mixer of each layer."""
        stripes = ("multihead_hyena" if self.multi_head else "hyena", "attention")
        return [stripes[layer % 2] for layer in range(self.num_hidden_layers)]


@strict
class MambaFormerConfig(StackConfig):
    """Mamba and attention in turn, Mamba first, which takes the place of positions; no channel mixers."""

    model_type = "mambaformer"

    num_hidden_layers: int = 3
    rope_theta: float | int | None = None

    @property
    def layer_mixers(self) -> list[str]:
        """The mixer of each layer."""
        return [("mamba", "attention")[layer % 2] for layer in range(self.num_hidden_layers)]

    @property
    def has_channel_mixers(self) -> bool:
        """Whether each mixer is followed by a SwiGLU where `intermediate_size` is left out."""
        return False
