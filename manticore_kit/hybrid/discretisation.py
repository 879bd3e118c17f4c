"""Discretisation: each row of the mixture to its nearest one-hot, and everything dropped that is then unused.

What is dropped: the blocks of weight 0, all projectors, the embedding of every component but the first block's, the
head of every component but the last block's, and whole components that no block uses. A component keeps its own
model around the layers that stay, with hollow places where the rest was, so that its masks, positions and caches
still come from its own forward.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten
from transformers import PreTrainedModel

from manticore_kit.components.replay import Component, Stack
from manticore_kit.errors import ManticoreError


class NoEmbedding(nn.Module):
    """Stands where a dropped embedding was: gives zeros of its shape, for a forward that only asks for shapes."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        # Follows the model's dtype and device, which the zeros must have.
        self.like: Tensor
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def forward(self, ids: Tensor, *args, **kwargs) -> Tensor:
        return self.like.new_zeros(*ids.shape, self.width)


def discretize(hybrid):
    """See `ManticoreForCausalLM.discretize`."""
    if hybrid.is_discretised:
        raise ManticoreError("This hybrid is discretised already.")
    chosen = hybrid.mixture_weights.argmax(dim=-1).tolist()
    used = sorted(set(chosen))
    entries, models = [], []
    for k in used:
        entry = copy.deepcopy(hybrid.config.components[k])
        component = hybrid.component(k)
        needs_head = chosen[0 if hybrid.config.ends == "shared" else -1] == k
        entry["kept"] = _what_to_keep(component, hybrid.config.spans[k], chosen, k, chosen[0] == k, needs_head)
        models.append(_copy_kept(component, entry["kept"]))
        entries.append(entry)
    config = copy.deepcopy(hybrid.config)
    config.components = entries
    recipe = hybrid.recipe.model_dump()
    recipe["components"] = [recipe["components"][k] for k in used]
    rows = [[float(k == c) for k in used] for c in chosen]
    config.recipe = {**recipe, "mixture": rows}
    small = type(hybrid)(config, components=models)
    small.mixture.set(rows)
    small.mixture.to(hybrid.device)
    small.tokenizer = hybrid.tokenizer
    small.generation_config = copy.deepcopy(hybrid.generation_config)
    return small.train(hybrid.training)


def hollow_out(model: PreTrainedModel, stack: Stack, kept: dict | None) -> None:
    """Drops in place from a freshly built `model` what `kept` (an entry of the configuration) does not name."""
    if kept is None:
        return
    for path, replacement in _replacements(model, stack, kept).items():
        model.set_submodule(path, replacement)
    _forget_ties(model, kept)


def _what_to_keep(component: Component, spans, chosen: list[int], k: int, embedding: bool, head: bool) -> dict:
    layers = [i for n, span in enumerate(spans) if chosen[n] == k for i in range(*span)]
    at_start, at_head = _modules_of_stages(component)
    absent_embeddings = [] if embedding else [n for n in at_start if _is_embedding(component.model, n)]
    if absent_embeddings and not _calls_survive(component, layers, absent_embeddings):
        absent_embeddings = []  # some models hand embeddings to their layers as well (Zamba, Gemma 3n)
    # A head tied to the embedding stays as long as the embedding stays, since it is the same tensor.
    absent_heads = [] if head else [n for n in at_head if n not in at_start]
    return {"layers": layers, "absent_embeddings": absent_embeddings, "absent_heads": absent_heads}


def _is_embedding(model: PreTrainedModel, path: str) -> bool:
    """Whether zeros can stand for the module's output: token tables, and others that look up what they are given."""
    module = model.get_submodule(path)
    plain = type(module).forward is nn.Embedding.forward  # OPT's positions, for one, are computed from a mask
    return isinstance(module, nn.Embedding) and (plain or module is model.get_input_embeddings())


def _modules_of_stages(component: Component) -> tuple[list[str], list[str]]:
    """Names of the modules with weights of their own that run before the layers, and in the head."""
    inside = component.stack.path + "."
    outside: dict[nn.Module, str] = {
        module: name
        for name, module in component.model.named_modules()
        if not name.startswith(inside) and any(True for _ in module.parameters(recurse=False))
    }
    ids = torch.zeros(1, 2, dtype=torch.long, device=component.model.device)
    start = component.start(ids)
    return (
        _called(outside, lambda: component.start(ids)),
        _called(outside, lambda: component.head(start.hidden)),
    )


@torch.no_grad()
def _called(modules: dict[nn.Module, str], run: Callable) -> list[str]:
    seen: list[str] = []

    def watch(module: nn.Module, name: str):
        return module.register_forward_pre_hook(lambda _, __: seen.append(name))

    hooks = [watch(module, name) for module, name in modules.items()]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return list(dict.fromkeys(seen))


@torch.no_grad()
def _calls_survive(component: Component, layers: list[int], absent: list[str]) -> bool:
    """Whether the kept layers would be handed the same arguments without the `absent` embeddings."""
    kept = {"layers": layers, "absent_embeddings": absent, "absent_heads": []}
    without = Component(_copy_kept(component, kept), component.stack)
    ids = torch.arange(6, device=component.model.device)[None] % component.vocab_size
    before, after = component.start(ids).calls, without.start(ids).calls
    return all(_same(before[i], after[i]) for i in layers)


def _same(a, b) -> bool:
    flat_a, flat_b = tree_flatten(a)[0], tree_flatten(b)[0]
    if len(flat_a) != len(flat_b):
        return False
    return all(
        torch.equal(x, y) if torch.is_tensor(x) and torch.is_tensor(y) else type(x) is type(y)
        for x, y in zip(flat_a, flat_b, strict=True)
    )


def _copy_kept(component: Component, kept: dict) -> PreTrainedModel:
    """A copy of the component's model; what is not `kept` is never copied."""
    model = component.model
    replacements = _replacements(model, component.stack, kept)
    memo = {id(model.get_submodule(path)): new for path, new in replacements.items()}
    small = copy.deepcopy(model, memo)
    _forget_ties(small, kept)
    return small


def _replacements(model: nn.Module, stack: Stack, kept: dict) -> dict[str, nn.Module]:
    places: dict[str, nn.Module] = {}
    for index in range(stack.depth):
        if index not in kept["layers"]:
            path = f"{stack.path}.{index}"
            places[path] = _hollow(model.get_submodule(path))
    for path in kept["absent_embeddings"]:
        table = model.get_parameter(f"{path}.weight")
        places[path] = NoEmbedding(table.shape[1]).to(device=table.device, dtype=table.dtype)
    for path in kept["absent_heads"]:
        places[path] = nn.Identity()
    return places


def _hollow(layer: nn.Module) -> nn.Module:
    """`layer` without its weights and parts; plain attributes that the model's loop reads stay."""
    hollow = object.__new__(type(layer))
    hollow.__dict__.update(layer.__dict__)
    hollow.__dict__.update(_modules={}, _parameters={}, _buffers={})
    return hollow


def _forget_ties(model: PreTrainedModel, kept: dict) -> None:
    """A tensor whose partner is gone is tied to nothing."""
    gone = tuple(f"{path}." for path in (*kept["absent_embeddings"], *kept["absent_heads"]))
    ties = model._tied_weights_keys or {}
    if gone:
        left = {k: v for k, v in ties.items() if not k.startswith(gone) and not v.startswith(gone)}
        model._tied_weights_keys = left
        model.all_tied_weights_keys = model.get_expanded_tied_weights_keys(all_submodels=False)
