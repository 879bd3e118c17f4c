"""A causal language model seen as embed -> layers -> head, with no forward code per architecture.

A model's own forward is run with its decoder layers replaced by stand-ins:

- *start* records what the model hands to each layer (state, mask, positions, rotary tables, cache, …) and stops
  before the final norm;
- *run* calls the real layers with those arguments and any hidden state;
- *head* runs the forward again with stand-ins that hand back the given state, so that norms, soft-caps,
  multipliers and tied heads are all the model's own. Where that was seen to do no more than to call a few modules
  one after another (`find_tail`: usually the final norm and the LM head), those are called and the rest is spared.

The stand-ins live in a *shell*: copies of the few modules on the path to the layer list, which share every
parameter with the model. The model itself is never changed, so replaying is safe with threads and pickling, and
modules that were swapped in later (adapters, quantised layers) are seen.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import islice, product
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin, LinearAttentionCacheLayerMixin

from manticore_kit.errors import ManticoreError


@dataclass(frozen=True)
class Stack:
    """Where a model keeps its decoder layers, and what each returns; plain data, saved with a hybrid.

    `path` is the dotted name of the layer list. `returns[i]` is the length of the tuple that layer i returns, or
    0 where it returns the bare hidden state. `caches` says whether the model continues from a cache when replayed.
    `tail` are the modules that make logits of the last state, empty where more than calling them in turn is needed.
    """

    path: str
    returns: tuple[int, ...]
    caches: bool = True
    tail: tuple[str, ...] = ()

    @property
    def depth(self) -> int:
        return len(self.returns)


@dataclass
class Start:
    """What a model's forward had prepared when it reached its layers.

    `hidden` is the state after the embedding stage, (batch, length, width); `calls[i]` are the positional and
    keyword arguments that layer i would have been given.
    """

    hidden: Tensor
    calls: dict[int, tuple[tuple, dict[str, Any]]] = field(default_factory=dict)


class _Stop(Exception):
    """Raised by the last stand-in: everything that the layers need is known."""


class _StandIn:
    """Takes a layer's place in the shell; attributes that the model's loop reads come from the real layer."""

    __slots__ = ("_act", "_index", "_real")

    def __init__(self, layer: nn.Module, index: int, act: Callable[[int, tuple, dict], Any]):
        self._real, self._index, self._act = layer, index, act

    def __getattr__(self, name: str):
        return getattr(object.__getattribute__(self, "_real"), name)

    def __call__(self, *args, **kwargs):
        return self._act(self._index, args, kwargs)


class _StandIns(list):
    """In place of the module list: a plain list is made in no time, and there is nothing in it to be found by name."""

    def named_modules(self, *_, **__):
        return iter(())


def find_stack_path(model: PreTrainedModel) -> str:
    """The dotted name of the model's decoder layers: the shallowest module list as long as the model is deep.

    Where no list has the configured depth (decoders cut out of encoder-decoders count their layers under another
    name), it is the longest list; the self-check tells whether that was right.
    """
    depth = getattr(model.config.get_text_config(decoder=True), "num_hidden_layers", None)
    lists = [(name, len(m)) for name, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m)]
    if not lists:
        raise ManticoreError(
            f"{type(model).__name__} ({model.config.model_type}) has no list of decoder layers, so it cannot be cut "
            "into blocks."
        )
    longest = max(length for _, length in lists)
    wanted = depth if any(length == depth for _, length in lists) else longest
    return min((name.count("."), name) for name, length in lists if length == wanted)[1]


@lru_cache(maxsize=256)
def _accepts(kind: type) -> frozenset[str]:
    return frozenset(inspect.signature(kind.forward).parameters)


class Component:
    """A causal language model that can be run block by block.

    `start`, `run` and `head` composed over all layers give the model's own logits, bit for bit.
    """

    def __init__(self, model: PreTrainedModel, stack: Stack, name: str = ""):
        self.model, self.stack, self.name = model, stack, name or model.config.model_type

    @property
    def layers(self) -> nn.ModuleList:
        return self._submodule(self.stack.path)

    @cached_property
    def width(self) -> int:
        """Size of the hidden state that passes between layers."""
        return self.model.config.get_text_config(decoder=True).hidden_size

    @property
    def vocab_size(self) -> int:
        return self.model.config.get_text_config(decoder=True).vocab_size

    # ------------------------------------------------------------------------------------------- the three stages

    def start(
        self,
        input_ids: Tensor,
        *,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        last: int | None = None,
    ) -> Start:
        """The state after the embedding stage and the arguments of every layer up to `last` (all by default).

        `input_ids` is (batch, new tokens), `attention_mask` (batch, past + new tokens).
        """
        start = Start(hidden=None)  # pyright: ignore[reportArgumentType]
        last = self.stack.depth - 1 if last is None else last

        def record(index: int, args: tuple, kwargs: dict):
            hidden, call = _split(args, kwargs)
            if cache is None:  # some models make one although they were told not to, and would fill it anew each run
                call = (call[0], {name: None if isinstance(v, Cache) else v for name, v in call[1].items()})
            if index == 0:
                start.hidden = hidden
            start.calls[index] = call
            if index == last:
                raise _Stop
            return self._returned(index, hidden)

        arguments: dict[str, Any] = {"use_cache": cache is not None, "position_ids": position_ids}
        if self._continues(cache):
            attention_mask = None  # a recurrent model's past needs no mask, and the new tokens have no padding
        arguments["attention_mask"] = attention_mask
        if cache is not None:
            arguments[self.cache_argument] = cache
        accepted = _accepts(type(self.model))
        with contextlib.suppress(_Stop):
            self._shell(record)(input_ids, **{k: v for k, v in arguments.items() if k in accepted and v is not None})
        return start

    def run(self, start: Start, hidden: Tensor, first: int, last: int) -> Tensor:
        """`hidden` (batch, length, width) after layers first … last − 1."""
        for index, layer in islice(enumerate(self.layers), first, last):
            args, kwargs = start.calls[index]
            out = layer(**{**kwargs, "hidden_states": hidden}) if args is None else layer(hidden, *args, **kwargs)
            hidden = out if torch.is_tensor(out) else out[0]
        return hidden

    def head(self, hidden: Tensor) -> Tensor:
        """Logits (batch, length, vocabulary) of a final `hidden` state (batch, length, width)."""
        tail: list[Any] = [self._submodule(name) for name in self.stack.tail]
        if not tail or not self._tail_suffices(tail[-1], hidden):
            return self.replay_head(hidden)
        for module in tail:
            hidden = module(hidden)
        return hidden

    def normed(self, hidden: Tensor) -> Tensor:
        """A final `hidden` state (batch, length, width) as the output matrix would read it: after the final norm.

        Raises `ManticoreError` for a model whose head is more than modules called in turn (`find_tail`).
        """
        if not self.stack.tail:
            raise ManticoreError(
                f"{self.name!r}: what its head does cannot be split into a norm and an output matrix, so it cannot "
                "encode. Use a model whose head is these two alone (GPT-Neo, Llama, Mamba and most others)."
            )
        for name in self.stack.tail[:-1]:
            hidden = self._submodule(name)(hidden)
        return hidden

    def _tail_suffices(self, last: nn.Module, hidden: Tensor) -> bool:
        # Elsewhere than in float32, where the tail was tried, the model may change precision between its modules, and
        # hooks on the modules around them run with their forward alone.
        dtype = getattr(getattr(last, "weight", None), "dtype", None)
        if not hidden.dtype == dtype == torch.float32 or torch.is_autocast_enabled(hidden.device.type):
            return False
        module: Any = self.model
        for name in self.stack.path.split("."):
            if module._forward_hooks or module._forward_pre_hooks:
                return False
            module = module._modules[name]
        return True

    def replay_head(self, hidden: Tensor) -> Tensor:
        """What `head` gives, by way of the model's own forward."""
        return self._replay_from(lambda index, *_: self._returned(index, hidden), hidden)

    def _replay_from(self, hand_back: Callable[[int, tuple, dict], Any], hidden: Tensor) -> Tensor:
        # The ids only tell the model the batch and length; whatever it embeds is thrown away by the stand-ins.
        ids = torch.zeros(hidden.shape[:2], dtype=torch.long, device=hidden.device)
        return self._shell(hand_back)(ids, use_cache=False).logits

    def compose(self, input_ids: Tensor, **arguments) -> Tensor:
        """The model's logits by way of start, run and head; the self-check compares them with the model's own."""
        start = self.start(input_ids, **arguments)
        return self.head(self.run(start, start.hidden, 0, self.stack.depth))

    # ------------------------------------------------------------------------------------------------- the cache

    @property
    def cache_argument(self) -> str:
        return "cache_params" if "cache_params" in _accepts(type(self.model)) else "past_key_values"

    def new_cache(self) -> Cache:
        """An empty cache of the model's own kind; only for a stack that `caches`."""
        return DynamicCache(config=self.model.config)

    def _continues(self, cache: Cache | None) -> bool:
        """Whether a purely recurrent model goes on from a filled cache."""
        return cache is not None and self.cache_argument == "cache_params" and cache.has_previous_state()

    def _submodule(self, path: str) -> Any:
        # What `get_submodule` gives, a few times sooner; it is asked for at every token.
        module: Any = self.model
        for name in path.split("."):
            module = module._modules[name]
        return module

    # ------------------------------------------------------------------------------------------------- stand-ins

    def _shell(self, act: Callable[[int, tuple, dict], Any]) -> nn.Module:
        *owners, attribute = self.stack.path.split(".")
        shell = module = _shallow(self.model)
        for name in owners:
            module._modules[name] = _shallow(module._modules[name])
            module = module._modules[name]
        layers = module._modules[attribute]
        module._modules[attribute] = _StandIns(_StandIn(m, i, act) for i, m in enumerate(layers))
        return shell

    def _returned(self, index: int, hidden: Tensor):
        length = self.stack.returns[index]
        return (hidden, *[None] * (length - 1)) if length else hidden


def _shallow(module: nn.Module) -> Any:
    """A copy that shares parameters, buffers and children with `module` but has its own table of children."""
    copy = object.__new__(type(module))
    copy.__dict__.update(module.__dict__)
    copy.__dict__["_modules"] = dict(module._modules)
    return copy


def _split(args: tuple, kwargs: dict) -> tuple[Tensor, tuple]:
    """A layer's arguments as its hidden state and the rest; positional rest is None where all came by keyword."""
    if args:
        return args[0], (args[1:], kwargs)
    return kwargs["hidden_states"], (None, kwargs)


def probe_returns(model: PreTrainedModel, path: str) -> tuple[int, ...]:
    """What each layer returns (see `Stack.returns`), seen in one forward of two tokens."""
    seen: dict[int, int] = {}
    hooks = [
        layer.register_forward_hook(
            lambda _, __, out, i=i: seen.__setitem__(i, 0 if torch.is_tensor(out) else len(out))
        )
        for i, layer in enumerate(model.get_submodule(path))  # pyright: ignore[reportArgumentType]
    ]
    try:
        with torch.no_grad():
            model(torch.zeros(1, 2, dtype=torch.long, device=model.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    silent = [i for i in range(len(hooks)) if i not in seen]
    if silent:
        raise ManticoreError(
            f"{type(model).__name__}: the model's forward does not call layers {silent} of {path!r}, so its blocks "
            "cannot be run one by one."
        )
    return tuple(seen[i] for i in range(len(hooks)))


@torch.no_grad()
def find_tail(component: Component) -> tuple[str, ...]:
    """The modules whose calls, one after another, are all that the model's head does; none where it does more.

    What the model calls after its last layer is noted in one replay. It is the whole head if calling it again gives
    the replayed logits, bit for bit, of small and of large states, in training as in evaluation.
    """
    model = component.model
    if model.dtype != torch.float32:
        return ()
    start = component.start(torch.arange(6, device=model.device).view(2, 3) % component.vocab_size)
    probe = component.run(start, start.hidden, 0, component.stack.depth)
    direct = Component(model, replace(component.stack, tail=_called_after_layers(component, probe)), component.name)
    was_training = model.training
    try:
        for training, hidden in product((False, True), (probe, 30 * probe)):
            model.train(training)
            with torch.random.fork_rng():  # a dropout that is on draws numbers
                logits, replayed = direct.head(hidden), component.replay_head(hidden)
            if logits.dtype != replayed.dtype or not torch.equal(logits, replayed):
                return ()
    except Exception:  # modules that take or give more than one tensor
        return ()
    finally:
        model.train(was_training)
    return direct.stack.tail


def _called_after_layers(component: Component, hidden: Tensor) -> tuple[str, ...]:
    """Names of the outermost modules that the model calls after its last layer."""
    model, path = component.model, component.stack.path
    called: list[str] = []
    depth = 0

    def enter(name: str):
        nonlocal depth
        if depth == 0:
            called.append(name)
        depth += 1

    def leave():
        nonlocal depth
        depth -= 1

    def hand_back(index: int, args: tuple, kwargs: dict):
        called.clear()
        return component._returned(index, hidden)

    hooks = []
    for name, module in model.named_modules():
        if not f"{path}.".startswith(f"{name}.") and name and not name.startswith(f"{path}."):
            hooks.append(module.register_forward_pre_hook(lambda *_, name=name: enter(name)))
            hooks.append(module.register_forward_hook(lambda *_: leave()))
    try:
        component._replay_from(hand_back, hidden)
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(called)


def count_tokens(cache: Cache, layers: Iterable[int], hidden: Tensor) -> None:
    """Tells `cache` that `layers` saw the new tokens of `hidden` (batch, length, width) although they did not run.

    Masks and positions are derived from the length of one layer's cache, often the first; a layer that is left
    out must therefore count along. One zero a token stands for its keys, which nothing reads.
    """
    batch, tokens = hidden.shape[:2]
    for index in layers:
        layer = cache.layers[index]
        if isinstance(layer, CacheLayerMixin):
            zeros = hidden.new_zeros(batch, 1, tokens, 1)
            layer.update(zeros, zeros)
        if isinstance(layer, LinearAttentionCacheLayerMixin):
            layer.has_previous_state = dict.fromkeys(layer.has_previous_state, True)
