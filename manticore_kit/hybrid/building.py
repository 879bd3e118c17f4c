"""From a recipe, or from models, to a hybrid."""

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from manticore_kit.components.anatomy import position_limit
from manticore_kit.components.loading import Loaded, load, load_tokenizer
from manticore_kit.components.replay import Component
from manticore_kit.components.vocabulary import choose_tokenizer, same_vocabulary, transplant
from manticore_kit.errors import ManticoreError
from manticore_kit.hybrid.configuration import ManticoreConfig
from manticore_kit.hybrid.inputs import check_width
from manticore_kit.hybrid.modeling import ManticoreForCausalLM
from manticore_kit.hybrid.projector import check_rank
from manticore_kit.recipe import ComponentSpec, Recipe

# Text for the aligned start: windows of each kind, and their length in tokens. 8,192 tokens together.
ALIGNMENT_WINDOWS, ALIGNMENT_LENGTH = 32, 128


def build(recipe: Recipe) -> ManticoreForCausalLM:
    """The hybrid that `recipe` describes, aligned on the built-in text where it says so.

    Raises `ManticoreError`, which names the field of the recipe, where a component cannot be loaded, cuts do not fit
    its layers, tokenizers differ and none is chosen, or an aligned start is asked for without a tokenizer.
    """
    if not isinstance(recipe, Recipe):
        raise ManticoreError(
            f"build takes a Recipe, but was given {type(recipe).__name__}; read one with Recipe.from_yaml(path)."
        )
    loaded = []
    for k, spec in enumerate(recipe.components):
        with _at(f"components[{k}]"):
            loaded.append(
                load(spec.model, config=spec.config, trust_remote_code=spec.trust_remote_code, seed=recipe.seed + k)
            )
    return assemble(loaded, recipe, _named_tokenizer(recipe.tokenizer))


def from_components(
    models_or_names: Sequence[Any],
    blocks: int,
    cuts: Sequence[Sequence[int]] | None,
    ends: str,
    projector: dict | None,
    mixture: Sequence[Sequence[float]] | None,
    tokenizer: str | PreTrainedTokenizerBase | None,
) -> ManticoreForCausalLM:
    """See `ManticoreForCausalLM.from_components`."""
    if not isinstance(models_or_names, list | tuple) or not models_or_names:
        raise ManticoreError(f"from_components takes a list of models or names, but was given {models_or_names!r}.")
    if cuts is not None and not (isinstance(cuts, list | tuple) and len(cuts) == len(models_or_names)):
        raise ManticoreError(
            f"cuts is {cuts!r}: give a list for each of the {len(models_or_names)} components, such as [[2], [3]]."
        )
    if projector is not None and not isinstance(projector, dict):
        raise ManticoreError(f"projector is {projector!r}: give a dict such as {{'init': 'identity', 'width': 128}}.")
    if tokenizer is not None and not isinstance(tokenizer, str | PreTrainedTokenizerBase):
        raise ManticoreError(f"tokenizer is {tokenizer!r}: give a loaded tokenizer, or the name of a model with one.")
    loaded = []
    for k, source in enumerate(models_or_names):
        with _at(f"components[{k}]"):
            loaded.append(load(source))
    data = {
        "components": [
            {"model": x.component.name, "cuts": None if cuts is None else cuts[k]} for k, x in enumerate(loaded)
        ],
        # Two is what is left out: then the cuts or the mixture say how many there are.
        "blocks": None if blocks == 2 and (cuts is not None or mixture is not None) else blocks,
        "ends": ends,
        "projector": {"init": "identity", **(projector or {})},
        "mixture": mixture.tolist() if isinstance(mixture, torch.Tensor) and not mixture.is_meta else mixture,
        "tokenizer": tokenizer if isinstance(tokenizer, str) else None,
    }
    recipe = Recipe.parse(data, "from_components")
    chosen = tokenizer if isinstance(tokenizer, PreTrainedTokenizerBase) else _named_tokenizer(tokenizer)
    return assemble(loaded, recipe, chosen)


def assemble(
    loaded: list[Loaded], recipe: Recipe, tokenizer: PreTrainedTokenizerBase | None = None
) -> ManticoreForCausalLM:
    """A hybrid of components that are loaded already, as `recipe` says; `tokenizer` is the one chosen, if any."""
    components = [x.component for x in loaded]
    tokenizer = _join_vocabularies(loaded, tokenizer)
    if recipe.program is not None:
        families = [c.model.config.model_type for c in components]
        with _at("program.mad"):
            recipe.program.result.refuse_others(families, recipe.num_blocks, repr(recipe.program.mad))
    models = _distinct([c.model for c in components])
    dtype = _common_dtype(models)
    models = [m if m.dtype == dtype else m.to(dtype) for m in models]
    cuts = []
    for k, (component, spec) in enumerate(zip(components, recipe.components, strict=True)):
        with _at(f"components[{k}]" if spec.cuts is None else f"components[{k}].cuts"):
            cuts.append(_cuts(component, spec, recipe.num_blocks))
    filled = recipe.model_copy(deep=True)
    for spec, edges in zip(filled.components, cuts, strict=True):
        spec.cuts = edges
    first = components[0].model.config.get_text_config(decoder=True)
    width = check_width(recipe.projector.width, [c.width for c in components], "projector.width")
    check_rank(recipe.projector.rank, [c.width for c in components])
    config = ManticoreConfig(
        components=[_entry(c, edges) for c, edges in zip(components, cuts, strict=True)],
        ends=recipe.ends,
        projector_kind=recipe.projector.kind,
        projector_rank=recipe.projector.rank,
        projector_init="random" if recipe.projector.init == "random" else "identity",
        width=width,
        vocab_size=max(c.vocab_size for c in components),
        recipe=filled.model_dump(exclude={"mixture", "program"}),
        max_position_embeddings=min((p for c in components if (p := position_limit(c))), default=None),
        **_special_tokens(tokenizer, first),
    )
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        hybrid = ManticoreForCausalLM(config, components=models)
    hybrid.set_mixture(recipe.rows)
    hybrid.tokenizer = tokenizer
    if recipe.projector.init == "aligned" and recipe.num_blocks > 1:
        hybrid.align(alignment_text(tokenizer), width=recipe.projector.width)
    return hybrid.eval()


def alignment_text(tokenizer: PreTrainedTokenizerBase | None) -> torch.Tensor:
    """Ids (64, 128) of built-in text, half prose and half code, that the aligned start of a recipe is fitted on."""
    from manticore_kit.tasks.language.builtin_text import excerpts

    if tokenizer is None:
        raise ManticoreError(
            "An aligned start runs the components on built-in text, and none of them came with a tokenizer. Name one "
            "with `tokenizer:`, or use `projector: {init: identity}` and call `.align(input_ids)` on text of your own."
        )
    size = {"length": ALIGNMENT_LENGTH, "count": ALIGNMENT_WINDOWS}
    return torch.cat([excerpts(tokenizer, kind, "train", **size) for kind in ("prose", "code")])


@contextmanager
def _at(field: str) -> Iterator[None]:
    """Deliberate errors inside begin with the `field` of the recipe that they are about."""
    try:
        yield
    except ManticoreError as error:
        raise ManticoreError(f"{field}: {error}") from error


def _named_tokenizer(name: str | None) -> PreTrainedTokenizerBase | None:
    if name is None:
        return None
    with _at("tokenizer"):
        return load_tokenizer(name)


def _join_vocabularies(loaded: list[Loaded], chosen: PreTrainedTokenizerBase | None) -> PreTrainedTokenizerBase | None:
    names = [x.component.name for x in loaded]
    tokenizer = choose_tokenizer(names, [x.tokenizer for x in loaded], chosen)
    if tokenizer is None:
        return None
    for x in loaded:
        if x.tokenizer is not None and not same_vocabulary(x.tokenizer, tokenizer):
            transplant(x.component.model, x.tokenizer, tokenizer)
            x.tokenizer = tokenizer  # what it reads from now on, also in the next hybrid
        elif x.component.vocab_size < len(tokenizer):
            raise ManticoreError(
                f"{x.component.name!r} has rows for {x.component.vocab_size} tokens and no tokenizer of its own, but "
                f"the hybrid's tokenizer has {len(tokenizer)}. Choose a component with that vocabulary."
            )
    return tokenizer


def _distinct(models: list) -> list:
    """The models, copied where one is named twice: each component trains weights of its own."""
    seen: set[int] = set()
    result = []
    for model in models:
        result.append(copy.deepcopy(model) if id(model) in seen else model)
        seen.add(id(model))
    return result


def _common_dtype(models: list) -> torch.dtype:
    dtype = models[0].dtype
    for model in models[1:]:
        dtype = torch.promote_types(dtype, model.dtype)
    return dtype


def _cuts(component: Component, spec: ComponentSpec, blocks: int) -> list[int]:
    depth = component.stack.depth
    if spec.cuts is None:
        if blocks > depth:
            raise ManticoreError(
                f"{component.name!r} has {depth} layers and cannot be cut into {blocks} blocks: each needs one layer. "
                f"Use at most {depth} blocks."
            )
        return [math.floor(i * depth / blocks + 0.5) for i in range(1, blocks)]
    if spec.cuts and spec.cuts[-1] >= depth:
        raise ManticoreError(
            f"{component.name!r} has {depth} layers, so it can be cut at layers below {depth}, but its cuts are "
            f"{spec.cuts}."
        )
    return list(spec.cuts)


def _entry(component: Component, cuts: list[int]) -> dict:
    model, stack = component.model, component.stack
    return {
        "name": component.name,
        "config": model.config.to_dict(),
        "attention": model.config._attn_implementation,
        "cuts": cuts,
        "stack": {**asdict(stack), "returns": list(stack.returns), "tail": list(stack.tail)},
        "positions": position_limit(component),
        "kept": None,
        "remote_code": type(model).__module__.startswith("transformers_modules."),
    }


def _special_tokens(tokenizer: PreTrainedTokenizerBase | None, config) -> dict:
    source = config if tokenizer is None else tokenizer
    tokens = {name: getattr(source, name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    if tokens["pad_token_id"] is None:
        eos = tokens["eos_token_id"]
        tokens["pad_token_id"] = eos[0] if isinstance(eos, list) else eos
    return tokens
