"""What a component is, for people: family, layers and their kinds, width, parameters, tokenizer, context."""

from dataclasses import asdict, dataclass

from torch import nn

from manticore_kit.components.replay import Component

# A layer's kind is read from the class names of its parts, which transformers builds from the field's own terms.
_KINDS = (
    ("attention", ("attention", "attn", "longformer")),
    ("ssm", ("mamba", "ssm", "mixer2")),
    ("recurrence", ("rwkv", "lstm", "recurrent", "rglru", "gateddelta", "linearattention", "kda")),
    ("convolution", ("shortconv", "hyena")),
    ("mixture of experts", ("moe", "experts")),
    ("MLP", ("mlp", "feedforward", "ffn")),
)


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
    """The kind of each layer: attention, local attention, ssm, recurrence, convolution or MLP."""
    return tuple(_kind(layer, i, component) for i, layer in enumerate(component.layers))


def _kind(layer: nn.Module, index: int, component: Component) -> str:
    names = [type(m).__name__.lower() for m in layer.modules()]
    found = next((kind for kind, words in _KINDS if any(w in n for n in names for w in words)), "other")
    if "ssm" in (k for k, words in _KINDS if any(w in n for n in names for w in words)) and found == "attention":
        # A layer class may carry both sorts of mixer by name; one with a convolution inside is the SSM of the two.
        found = "ssm" if any(isinstance(m, nn.Conv1d) for m in layer.modules()) else found
    return "local attention" if found == "attention" and _is_local(index, component) else found


def _is_local(index: int, component: Component) -> bool:
    config = component.model.config.get_text_config(decoder=True)
    types = getattr(config, "layer_types", None) or getattr(config, "attention_layers", None)
    if types is not None and len(types) == component.stack.depth:
        return types[index] in {"local", "sliding_attention", "chunked_attention"}
    return getattr(config, "sliding_window", None) is not None and getattr(config, "use_sliding_window", True)


def context_length(component: Component) -> int | None:
    """The longest sequence the model was made for, or None where its architecture sets no limit."""
    config = component.model.config.get_text_config(decoder=True)
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length"):
        if isinstance(value := getattr(config, name, None), int):
            return value
    return None


def position_limit(component: Component) -> int | None:
    """The longest sequence the model *can* run: the size of its table of learned positions, None without one."""
    context = context_length(component)
    if context is None:
        return None
    model = component.model
    tokens = model.get_input_embeddings()
    inside = component.stack.path + "."
    for name, module in model.named_modules():
        # Tables may hold a few rows more than there are positions (OPT keeps two for padding).
        is_table = isinstance(module, nn.Embedding) and module is not tokens and not name.startswith(inside)
        if is_table and context <= module.num_embeddings <= context + 8:
            return context
    return None
