"""The self-check of a component: replayed block by block, a model must give its own logits.

It runs when a model is loaded, on a few tokens, and needs no knowledge of the architecture. A model that keeps
something between its layers that replay cannot see fails here, with a message that says what differed, and not
later with silently wrong numbers.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from manticore_kit.components.quirks import make_replayable
from manticore_kit.components.replay import Component, Stack, find_stack_path, find_tail, probe_returns
from manticore_kit.errors import ManticoreError

# Replay repeats the model's own operations, so the difference is expected to be 0; the allowance covers kernels that
# sum in another order from call to call.
TOLERANCE = 1e-5


def check(model: PreTrainedModel, name: str = "") -> Component:
    """`model` as a component whose replay was compared with the model itself: plain, left-padded and cached.

    Raises `ManticoreError` where the plain or padded logits differ, or where a later token changes an earlier
    token's logits. A model whose cached logits differ stays usable without a cache (`stack.caches` is False).
    """
    name = name or model.config.model_type
    make_replayable(model)
    was_training = model.training
    model.eval()
    try:
        path = find_stack_path(model)
        component = Component(model, Stack(path, probe_returns(model, path)), name)
        with torch.no_grad():
            _check_logits(component)
            _check_causal(component)
            component.stack = replace(component.stack, caches=_caches(component), tail=find_tail(component))
        return component
    finally:
        model.train(was_training)


def _tokens(component: Component) -> tuple[Tensor, Tensor]:
    """Random ids (2, 8) and a mask that pads the first row on the left."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, component.vocab_size, (2, 8), generator=generator).to(component.model.device)
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    return ids, mask


def _difference(a: Tensor, b: Tensor) -> float:
    """Largest difference relative to the largest logit; NaN counts as infinite."""
    # Logits of random weights are small throughout, so they are no less a measure than 1 would be.
    worst = ((a - b).abs().max() / b.abs().max().clamp(min=torch.finfo(b.dtype).tiny)).item()
    return worst if worst == worst else float("inf")


def _check_logits(component: Component) -> None:
    ids, mask = _tokens(component)
    for case, kwargs in {"plain": {}, "left-padded": {"attention_mask": mask}}.items():
        try:
            own = component.model(ids, use_cache=False, **kwargs).logits
            replayed = component.compose(ids, **kwargs)
        except ManticoreError:
            raise
        except Exception as error:
            raise ManticoreError(
                f"{component.name} ({type(component.model).__name__}) cannot be run block by block: its {case} "
                f"forward failed with {type(error).__name__}: {error}"
            ) from error
        if (worst := _difference(replayed, own)) > TOLERANCE:
            raise ManticoreError(
                f"{component.name} ({type(component.model).__name__}) cannot be a component: run block by block its "
                f"{case} logits differ from the model's own by {worst:.2g} of the largest logit (allowed: "
                f"{TOLERANCE:g}). Its layers probably share state that passes outside of their arguments."
            )


def _check_causal(component: Component) -> None:
    ids, _ = _tokens(component)
    changed = ids.clone()
    changed[:, -1] = (ids[:, -1] + 1) % component.vocab_size
    before, after = (component.model(x, use_cache=False).logits[:, :-1] for x in (ids, changed))
    if _difference(after, before) > TOLERANCE:
        raise ManticoreError(
            f"{component.name} ({type(component.model).__name__}) is not a causal language model: changing the last "
            "token changes the logits of earlier tokens. Encoder-only models such as BERT cannot be components; use "
            "a decoder (GPT, Llama, Mamba, …)."
        )


def _caches(component: Component) -> bool:
    """Whether prefill and one more token through a cache give the model's own cached logits."""
    kind: Any = type(component.model)
    if not (kind.can_generate() and kind._supports_default_dynamic_cache()):
        return False
    ids, mask = _tokens(component)
    longer = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
    own_cache, cache = component.new_cache(), component.new_cache()
    key = component.cache_argument
    try:
        component.model(ids, attention_mask=mask, use_cache=True, **{key: own_cache})
        step_mask = {} if key == "cache_params" else {"attention_mask": longer}
        own = component.model(ids[:, :1], use_cache=True, **{key: own_cache}, **step_mask).logits
        component.compose(ids, attention_mask=mask, cache=cache)
        replayed = component.compose(ids[:, :1], attention_mask=longer, cache=cache)
    except Exception:  # whatever a foreign model's cache raises, the model is still right without it
        return False
    return _difference(replayed, own) <= TOLERANCE
