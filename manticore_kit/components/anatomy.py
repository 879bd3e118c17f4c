"""What a component is, for people: family, layers and their kinds, width, parameters, tokenizer, context."""

import re
from dataclasses import asdict, dataclass

from torch import nn

from manticore_kit.components.replay import Component

# What a layer mixes tokens with, read from the class names of its parts, which follow the field's own terms. The first
# kind that fits a part counts: RwkvSelfAttention is a recurrence.
_MIXERS = {
    "recurrence": re.compile("rwkv|lstm|recurrentblock|rglru"),
    "linear attention": re.compile("delta|lightning"),
    "convolution": re.compile("shortconv|hyena"),
    "attention": re.compile("attention|attn|mla$"),
}
# A layer without any of these mixes no tokens (Nemotron-H has such layers).
_CHANNEL_MIXERS = {"mixture of experts": re.compile("moe|experts"), "MLP": re.compile("mlp|feedforward|ffn")}
_LOCAL = {"local", "sliding_attention", "chunked_attention", "hybrid_sliding"}


@dataclass(frozen=True)
class Description:
    """A component in figures; `layer_kinds[i]` names what layer i mixes tokens with."""

    name: str
    family: str
    architecture: str
    layers: int
    layer_kinds: tuple[str, ...]
    width: int
    parameters: int
    vocabulary: int
    tokenizer: str
    context: int | None
    dtype: str
    generates_with_cache: bool

    def model_dump(self) -> dict:
        """The fields as plain data."""
        return asdict(self)


def describe(model, *, trust_remote_code: bool = False) -> Description:
    """What `model` (a component, a loaded model or anything that `load` takes) is made of."""
    from manticore_kit.components.loading import load

    loaded = load(model, trust_remote_code=trust_remote_code)
    component, tokenizer = loaded.component, loaded.tokenizer
    config = component.model.config
    vocabulary = "none found" if tokenizer is None else f"{type(tokenizer).__name__} ({len(tokenizer):,} tokens)"
    return Description(
        name=component.name,
        family=config.model_type,
        architecture=type(component.model).__name__,
        layers=component.stack.depth,
        layer_kinds=layer_kinds(component),
        width=component.width,
        parameters=sum(p.numel() for p in component.model.parameters()),
        vocabulary=component.vocab_size,
        tokenizer=vocabulary,
        context=context_length(component),
        dtype=str(component.model.dtype).removeprefix("torch."),
        generates_with_cache=component.stack.caches,
    )


def layer_kinds(component: Component) -> tuple[str, ...]:
    """The kind of each layer: attention, local attention, linear attention, ssm, recurrence or convolution.

    Two in one layer are joined by " + "; a layer that mixes no tokens is a mixture of experts or an MLP.
    """
    return tuple(_kind(layer, _is_local(i, component)) for i, layer in enumerate(component.layers))


def _kind(layer: nn.Module, is_local: bool) -> str:
    parts = [m for m in layer.modules() if m is not layer]
    mixers = {mixer for part in parts if (mixer := _mixer(part)) is not None}
    if not mixers:
        names = [type(part).__name__.lower() for part in parts]
        return next((kind for kind, words in _CHANNEL_MIXERS.items() if any(map(words.search, names))), "other")
    return " + ".join("local attention" if m == "attention" and is_local else m for m in sorted(mixers))


def _mixer(part: nn.Module) -> str | None:
    # State-space models have many names and one parametrisation: A_log, with D beside it (gated delta rules have no D).
    if "A_log" in part._parameters:
        return "ssm" if "D" in part._parameters else "linear attention"
    name = type(part).__name__.lower()
    return next((kind for kind, words in _MIXERS.items() if words.search(name)), None)


def _is_local(index: int, component: Component) -> bool:
    config = component.model.config.get_text_config(decoder=True)
    types = getattr(config, "layer_types", None) or getattr(config, "attention_layers", None)
    if types is not None and len(types) == component.stack.depth:
        return types[index] in _LOCAL
    return bool(getattr(config, "sliding_window", None)) and getattr(config, "use_sliding_window", True)


def context_length(component: Component) -> int | None:
    """The longest sequence the model was made for, or None where its architecture sets no limit."""
    config = component.model.config.get_text_config(decoder=True)
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length"):
        if isinstance(value := getattr(config, name, None), int):
            return value
    return None


def position_limit(component: Component) -> int | None:
    """The longest sequence the model *can* run: the size of its table of positions, None without one."""
    context = context_length(component)
    if context is None:
        return None
    model = component.model
    tokens = model.get_input_embeddings()
    inside = component.stack.path + "."
    for name, module in model.named_modules():
        if not isinstance(module, nn.Embedding) or module is tokens or name.startswith(inside):
            continue
        # Tables may hold a few rows more than there are positions (OPT keeps two for padding).
        if context <= module.num_embeddings <= context + 8:
            return context
    for name, buffer in model.named_buffers():
        # Computed tables that the layers look positions up in (GPT-J's rotations, CTRL's sines).
        if "pos" in name.rpartition(".")[2] and buffer.ndim == 2 and len(buffer) == context:
            return context
    return None
