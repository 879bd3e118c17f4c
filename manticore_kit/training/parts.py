"""The parts of a model that learn at their own rates: components, projectors, embeddings and mixture.

Embeddings are the token tables and the heads' output matrices. A model that is no hybrid has components and embeddings;
one that has a hybrid as its `encoder` has the parts of that hybrid, and what is around it counts as components.
"""

from typing import Any, get_args

from torch import nn

from manticore_kit.hybrid.modeling import ManticoreForCausalLM
from manticore_kit.training.settings import Part, TrainingSettings

PARTS: tuple[Part, ...] = get_args(Part)


def hybrid_in(model: Any) -> ManticoreForCausalLM | None:
    """The hybrid that `model` is, or that encodes for it; None where there is none."""
    for candidate in (model, getattr(model, "encoder", None)):
        if isinstance(candidate, ManticoreForCausalLM):
            return candidate
    return None


def part_names(model: nn.Module) -> dict[str, Part]:
    """The part of each of `model`'s parameters, by the parameter's name."""
    tables = _tables(model)
    return {name: _part(name, id(parameter) in tables) for name, parameter in model.named_parameters()}


def freeze(model: nn.Module, settings: TrainingSettings) -> None:
    """Lets gradients reach the parts that `settings` moves, and no others."""
    parts, moving = part_names(model), settings.moving
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parts[name] in moving)


def parameter_groups(model: nn.Module, settings: TrainingSettings, decayed: set[str]) -> list[dict]:
    """Optimiser groups of the parts that move, each with its learning rate; `decayed` are names with weight decay."""
    rates, parts = settings.rates, part_names(model)
    groups = []
    for part in settings.moving:
        for decays in (True, False):
            chosen = [
                parameter
                for name, parameter in model.named_parameters()
                if parts[name] == part and (name in decayed and part != "mixture") == decays
            ]
            if chosen:
                decay = settings.weight_decay if decays else 0.0
                groups.append({"params": chosen, "part": part, "lr": rates[part], "weight_decay": decay})
    return groups


def _part(name: str, is_table: bool) -> Part:
    name = name.removeprefix("encoder.")
    if name.startswith("projectors."):
        return "projectors"
    if name.startswith("mixture."):
        return "mixture"
    return "embeddings" if is_table else "components"


def _tables(model: nn.Module) -> set[int]:
    inner: Any = hybrid_in(model) or model
    components: list[Any] = [child for name, child in inner.named_children() if name.startswith("component_")] or [
        inner
    ]
    modules = [get() for part in components for get in (part.get_input_embeddings, part.get_output_embeddings)]
    return {id(module.weight) for module in modules if isinstance(getattr(module, "weight", None), nn.Parameter)}
