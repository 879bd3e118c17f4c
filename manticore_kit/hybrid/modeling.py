"""The hybrid itself: component models cut into blocks, joined by gated projectors and a mixture row per block.

    u    = (1 − α_nk) · P_in,nk(h_{n−1}) + α_nk · fit(h_{n−1})       input of block n in component k
    y    = Block_nk(u)
    z_nk = (1 − α_nk) · P_out,nk(y) + α_nk · fit(y)
    h_n  = Σ_k α_nk · z_nk

With `ends: own` (the default) the first block of each component reads its own embedding and its last block feeds
its own head: logits = Σ_k α_Nk · Head_k(y_Nk), and projectors stand at the inner seams alone. With `ends: shared`
(the published form) h_0 = Σ_k α_1k · fit(E_k(ids)) and logits = Σ_k α_1k · Head_k(fit(h_N)). In both, rows that are
one-hot on component k give component k, exactly.

Source: arXiv 2406.00894, section 3. Letters in shapes: B batch, L length, D shared width, N blocks, K components.
"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, GenerationMixin, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple

from manticore_kit.components.bars import own_bar
from manticore_kit.components.replay import Component, Start, count_tokens
from manticore_kit.errors import ManticoreError
from manticore_kit.hybrid import saving
from manticore_kit.hybrid.alignment import align
from manticore_kit.hybrid.cache import HybridCache
from manticore_kit.hybrid.configuration import (
    Layout,
    ManticoreConfig,
    check_entries,
    component_config,
    component_stack,
)
from manticore_kit.hybrid.discretisation import discretize, hollow_out
from manticore_kit.hybrid.inputs import check_ids
from manticore_kit.hybrid.mixture import Mixture
from manticore_kit.hybrid.projector import Projector, fit, new_projector, project
from manticore_kit.hybrid.weighted_sum import weighted_sum
from manticore_kit.kernels import install_for
from manticore_kit.recipe import Recipe

# Logit of ids that a component's vocabulary lacks: far below any real one, and finite, so that a weight times it
# has a gradient.
NO_LOGIT = -1e4


class ManticoreForCausalLM(PreTrainedModel, GenerationMixin):
    """A hybrid of causal language models, itself an ordinary transformers causal language model.

    Component k is the submodule `component_{k}`; `from_components` builds one from models or their names.
    """

    config_class = ManticoreConfig
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _keep_in_fp32_modules_strict: ClassVar[list[str]] = ["mixture"]

    def __init__(self, config: ManticoreConfig, components: Sequence[PreTrainedModel] | None = None):
        check_entries(config, loaded=components is not None)
        super().__init__(config)
        for k, entry in enumerate(config.components):
            if components is None:
                model = AutoModelForCausalLM.from_config(
                    # Not the precision that the component once had, but the one this hybrid is built in.
                    component_config(entry),
                    attn_implementation=entry["attention"],
                    dtype=torch.get_default_dtype(),
                )
                install_for(model)
                hollow_out(model, component_stack(entry), entry["kept"])
            else:
                model = components[k]
                for module in model.modules():
                    module.__dict__["_is_hf_initialized"] = True  # loaded weights must not be drawn anew by `post_init`
            self.add_module(f"component_{k}", model)
        self._views: dict[int, Component] = {}
        self.projectors = torch.nn.ModuleDict()
        self.mixture = Mixture(config.num_blocks, len(config.components))
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self.post_init()
        self.reset_projectors(config.width, config.projector_init)
        self.generation_config.use_cache = config.use_cache
        self.mixture.logits.requires_grad_(not self.is_discretised)
        self._static_rows: tuple[tuple, list[list[float]]] | None = None

    # -------------------------------------------------------------------------------------------------- building

    @classmethod
    def from_components(
        cls,
        models_or_names: Sequence[Any],
        *,
        blocks: int = 2,
        cuts: Sequence[Sequence[int]] | None = None,
        ends: str = "own",
        projector: dict | None = None,
        mixture: Sequence[Sequence[float]] | None = None,
        tokenizer: Any = None,
    ) -> "ManticoreForCausalLM":
        """A hybrid of models, or of whatever `manticore_kit.components.load` takes.

        `cuts[k]` are the layers at which component k's blocks after the first start; left out, every component is
        cut into `blocks` nearly equal parts. `projector` holds what a recipe's does: `kind`, `init` (here `identity`
        where it is left out), `width` and `rank`. `mixture` is a row per block, uniform where it is left out. A model
        that is given loaded shares its weights with the hybrid.
        """
        from manticore_kit.hybrid.building import from_components

        return from_components(models_or_names, blocks, cuts, ends, projector, mixture, tokenizer)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """A saved hybrid, with the tokenizer that was saved beside it; otherwise as transformers' own.

        Raises `ManticoreError` for a model or folder that is no saved hybrid.
        """
        source = pretrained_model_name_or_path
        if source is None:
            return super().from_pretrained(source, *args, **kwargs)
        saving.refuse_other_models(source)
        with own_bar(f"Loading {source}"):
            loaded = super().from_pretrained(source, *args, **kwargs)
        hybrid = loaded[0] if isinstance(loaded, tuple) else loaded
        hybrid.tokenizer = saving.tokenizer_of(source, **kwargs)
        return loaded

    def reset_projectors(self, width: int, init: str = "identity") -> None:
        """New projectors to the shared `width`, wherever states pass between blocks of different components.

        Their kind and rank are those of the configuration; `init` is `identity` or `random`.
        """
        config = self.config
        self.config.width, self.config.projector_init = width, init
        self.projectors.clear()
        last, shared = config.num_blocks - 1, config.ends == "shared"
        kind, rank = config.projector_kind, config.projector_rank
        needed = [] if self.is_discretised else range(config.num_blocks)
        for n in needed:
            for k in range(self.num_components):
                own = self.component(k).width
                if n > 0 or shared:
                    self.projectors[f"in_{n}_{k}"] = new_projector(kind, width, own, init, rank)
                if n < last or shared:
                    self.projectors[f"out_{n}_{k}"] = new_projector(kind, own, width, init, rank)
        vocabularies = [self.component(k).vocab_size for k in range(self.num_components)]
        self._layout = Layout.of(config, vocabularies)  # pyright: ignore[reportArgumentType]
        reference = next(self.component(0).model.parameters())
        self.projectors.to(device=reference.device, dtype=reference.dtype)

    def _init_weights(self, module) -> None:
        if isinstance(module, Projector | Mixture):
            module.reset_parameters()

    # ----------------------------------------------------------------------------------------------------- parts

    @property
    def num_components(self) -> int:
        """Number of component models, K."""
        return len(self.config.components)

    @property
    def is_discretised(self) -> bool:
        """Whether blocks were dropped, so that the mixture is fixed."""
        return any(entry["kept"] is not None for entry in self.config.components)

    def component(self, k: int) -> Component:
        """Component k, as something that can be run block by block."""
        model = getattr(self, f"component_{k}")
        view = self._views.get(k)
        if view is None or view.model is not model:
            entry = self.config.components[k]
            view = self._views[k] = Component(model, component_stack(entry), entry["name"])
        return view

    @property
    def recipe(self) -> Recipe:
        """The recipe of this hybrid with its present mixture, weights rounded to six places."""
        return Recipe.parse({**(self.config.recipe or {}), "mixture": rounded_rows(self.mixture_weights)})

    def get_input_embeddings(self):
        """The first component's token embedding."""
        return self.component(0).model.get_input_embeddings()

    # --------------------------------------------------------------------------------------------------- mixture

    @property
    def mixture_weights(self) -> Tensor:
        """(blocks, components), rows on the simplex."""
        return self.mixture.weights

    def set_mixture(self, rows: Sequence[Sequence[float]] | Tensor) -> None:
        """Sets the mixture to `rows`, one per block, each non-negative and with sum 1.

        Raises `ManticoreError` for rows off the simplex, and for weight on a block that this hybrid dropped.
        """
        if self.is_discretised:
            raise ManticoreError(
                "This hybrid was discretised: it holds one component per block, so its mixture is fixed."
            )
        self.mixture.set(rows)

    def align(self, input_ids: Tensor, *, width: int | None = None) -> None:
        """Sets the projectors in closed form from the components' own states on `input_ids` (batch, length).

        At the present mixture the hybrid then starts near the ensemble of its components, and with `width` = Σ d_k
        exactly on it. `width` is the shared width, left out: the widest component's. No gradient is used.
        """
        align(self, input_ids, width)

    def discretize(self) -> "ManticoreForCausalLM":
        """A smaller hybrid in which each block is the component with the largest weight there, the rest dropped."""
        return discretize(self)

    def _mixed(self) -> tuple[Tensor, list[list[float]] | None]:
        """The weights, and as numbers too, so that work on weights of exactly 0 and 1 can be skipped.

        Softmax gives such weights no gradient, so they can be skipped in training as well. A compiled graph does
        without the numbers while they are trained: it would be compiled anew for each mixture.
        """
        logits = self.mixture.logits
        weights = self.mixture.draw()
        if torch.compiler.is_compiling() and torch.is_grad_enabled() and logits.requires_grad:
            return weights, None
        if self.mixture.is_noisy and not logits.is_cpu:  # other numbers each time, not worth waiting for
            return weights, None
        if logits.is_cpu or logits.is_inference():  # in inference mode changes are not counted
            return weights, weights.tolist()
        # Reading numbers off a device waits for it; one mixture serves many forwards.
        key = (logits.data_ptr(), logits._version, logits.device)
        if self._static_rows is None or self._static_rows[0] != key:
            self._static_rows = (key, weights.tolist())
        return weights, self._static_rows[1]

    # --------------------------------------------------------------------------------------------------- forward

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: HybridCache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs,
    ) -> CausalLMOutputWithPast:
        """Logits (B, L, vocabulary) of `input_ids` (B, L), and the mean next-token loss where `labels` are given."""
        weights, rows = self._mixed()
        layout = self._layout
        parts = [self.component(k) for k in range(len(layout.names))]
        running = [k for k in range(len(parts)) if any(_runs(rows, n, k) for n in layout.blocks)]
        input_ids = check_ids(input_ids, {layout.names[k]: layout.vocabularies[k] for k in running})
        use_cache = self._caching(use_cache)
        if use_cache and past_key_values is None:
            past_key_values = self.new_cache()
        cache = past_key_values if use_cache else None
        self.check_length(input_ids.shape[1] + (0 if cache is None else cache.seen), running)

        starts = self._starts(parts, input_ids, attention_mask, position_ids, cache, rows)
        state, outputs = self._blocks(parts, starts, weights, rows, cache)
        logits = self._logits(parts, state, outputs, weights, rows, logits_to_keep)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=layout.vocab_size, **kwargs)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=cache)

    def _starts(self, parts, input_ids, attention_mask, position_ids, cache, rows) -> dict[int, Start]:
        """Each component that runs anywhere, brought to its first layer."""
        running = tuple(tuple(_runs(rows, n, k) for n in self._layout.blocks) for k in range(len(parts)))
        if cache is not None:
            cache.extend(input_ids.shape[1], running)
        return {
            k: part.start(
                input_ids,
                attention_mask=attention_mask,
                position_ids=position_ids,
                cache=None if cache is None else cache.caches[k],
            )
            for k, part in enumerate(parts)
            if any(running[k])
        }

    def _blocks(
        self, parts: list[Component], starts: dict[int, Start], weights: Tensor, rows, cache: HybridCache | None
    ) -> tuple[Tensor | None, dict[int, Tensor]]:
        """The last shared state (B, L, D), and with own ends each component's output of its last block instead."""
        shared = self._layout.shared_ends
        state = self._shared_embedding(starts, weights, rows) if shared else None
        *inner, last = self._layout.blocks
        for n in inner:
            state = self._join(n, self._block(n, state, parts, starts, weights, rows, cache), weights, rows, cache)
        outputs = self._block(last, state, parts, starts, weights, rows, cache)
        return (self._join(last, outputs, weights, rows, cache), {}) if shared else (None, outputs)

    def _block(self, n: int, state, parts, starts: dict[int, Start], weights, rows, cache) -> dict[int, Tensor]:
        """What block n of each component that runs there leaves, of the shared `state` or of the component's own."""
        left = {}
        for k, start in starts.items():
            span = self._layout.spans[k][n]
            if _runs(rows, n, k):
                entered = start.hidden
                if state is not None:
                    entered = self._enter(n, k, state, start.hidden, weights, rows, cache)
                left[k] = parts[k].run(start, entered, *span)
            elif cache is not None:
                count_tokens(cache.caches[k], range(*span), start.hidden)
        return left

    def _join(self, n: int, left: dict[int, Tensor], weights: Tensor, rows, cache: HybridCache | None) -> Tensor:
        """The shared state after block n, of what its components left."""
        width = self._layout.width
        terms = {k: self._project("out", n, k, h, width, weights, rows, cache) for k, h in left.items()}
        return _mix(terms, weights[n], rows and rows[n])

    def _shared_embedding(self, starts: dict[int, Start], weights: Tensor, rows) -> Tensor:
        embedded = {k: fit(s.hidden, self._layout.width) for k, s in starts.items() if _runs(rows, 0, k)}
        return _mix(embedded, weights[0], rows and rows[0])

    def _enter(self, n: int, k: int, state: Tensor, first: Tensor, weights: Tensor, rows, cache) -> Tensor:
        """The shared `state` as block n of component k reads it; `first` is a state of that component's own."""
        entered = self._project("in", n, k, state, first.shape[-1], weights, rows, cache)
        return _as_expected(entered, first.dtype, rows, n - 1, k)

    def _project(
        self, side: str, n: int, k: int, hidden: Tensor, width: int, weights: Tensor, rows, cache: HybridCache | None
    ) -> Tensor:
        fixed = None if rows is None else rows[n][k]
        if fixed == 1.0:  # nothing is left of the projector
            return fit(hidden, width)
        name = f"{side}_{n}_{k}"
        projector: Any = self.projectors._modules[name]
        if cache is None or fixed is None or torch.is_grad_enabled():
            return project(projector, hidden, weights[n, k])
        key = (name, fixed)
        if key not in cache.gated:
            cache.gated[key] = projector.gated(weights[n, k].to(projector.dtype))
        return project(projector, hidden, weights[n, k], cache.gated[key])

    def _logits(self, parts, state, outputs: dict[int, Tensor], weights: Tensor, rows, keep: int | Tensor) -> Tensor:
        row, outputs = self._final(parts, state, outputs, rows)
        chosen = slice(-keep, None) if isinstance(keep, int) else keep
        terms = {k: parts[k].head(hidden[:, chosen]) for k, hidden in outputs.items()}
        logits = _mix(terms, weights[row], rows and rows[row], missing=NO_LOGIT)
        missing = self._layout.vocab_size - logits.shape[-1]
        return F.pad(logits, (0, missing), value=NO_LOGIT) if missing else logits

    def _final(self, parts, state, outputs: dict[int, Tensor], rows) -> tuple[int, dict[int, Tensor]]:
        """The row that mixes what the heads make, and the state (B, L, own width) that each head reads."""
        if not self._layout.shared_ends:
            return self._layout.blocks[-1], outputs
        heads = {k: part for k, part in enumerate(parts) if _runs(rows, 0, k)}
        return 0, {k: _as_expected(fit(state, c.width), c.model.dtype, rows, -1, k) for k, c in heads.items()}

    def encode(self, input_ids: Tensor) -> Tensor:
        """The last state (B, L, D) of `input_ids` (B, L): Σ_k α_k · fit(norm_k(y_k)), of what the heads would read.

        Raises `ManticoreError` where a component's final norm cannot be called by itself.
        """
        weights, rows = self._mixed()
        parts = [self.component(k) for k in range(self.num_components)]
        starts = self._starts(parts, input_ids, None, None, None, rows)
        row, outputs = self._final(parts, *self._blocks(parts, starts, weights, rows, None), rows)
        terms = {k: fit(parts[k].normed(hidden), self._layout.width) for k, hidden in outputs.items()}
        return _mix(terms, weights[row], None if rows is None else rows[row])

    def check_length(self, length: int, running: Iterable[int] | None = None) -> None:
        """Raises `ManticoreError` where `length` is more than the learned positions of a component (of `running`)."""
        for k in range(self.num_components) if running is None else running:
            name, limit = self._layout.names[k], self._layout.limits[k]
            if limit is not None and length > limit:
                raise ManticoreError(
                    f"The sequence has {length} tokens, but component {name!r} has learned positions for {limit} only. "
                    f"Cut the text to {limit} tokens, or leave this component out."
                )

    # ------------------------------------------------------------------------------------------------ generation

    def new_cache(self) -> HybridCache:
        """An empty cache for this hybrid."""
        return HybridCache([self.component(k).new_cache() for k in range(self.num_components)])

    def _caching(self, use_cache: bool | None) -> bool:
        if not self._layout.caches:
            return False
        if use_cache is None:
            return self.config.use_cache and not self.training
        checkpointing = self.training and self.is_activation_checkpointing
        return use_cache and not checkpointing

    def _prepare_cache_for_generation(self, generation_config, model_kwargs, *args, **kwargs) -> None:
        if model_kwargs.get("past_key_values") is not None or generation_config.use_cache is False:
            return
        if self._layout.caches:
            model_kwargs["past_key_values"] = self.new_cache()
        else:
            generation_config.use_cache = False  # this call's own copy

    # ---------------------------------------------------------------------------------------------------- saving

    def save_pretrained(self, save_directory, **kwargs) -> None:
        """Saves the hybrid, its recipe and its tokenizer; the folder is complete or is left as it was."""
        saving.save(self, super().save_pretrained, save_directory, **kwargs)


# ------------------------------------------------------------------------------------------------------- small parts


def _runs(rows: list[list[float]] | None, n: int, k: int) -> bool:
    """Whether component k runs in block n: always while the mixture is trained, else where its weight is not 0."""
    return rows is None or rows[n][k] != 0.0


def _as_expected(hidden: Tensor, dtype: torch.dtype, rows: list[list[float]] | None, n: int, k: int) -> Tensor:
    """`hidden` in the precision that component k begins with, unless block n was k alone and hands on its own state.

    Some models keep their state in float32 when their weights are in half precision (Mamba); others cannot read that.
    """
    return hidden if rows is not None and rows[n][k] == 1.0 else hidden.to(dtype)


def _mix(terms: dict[int, Tensor], weights: Tensor, row: list[float] | None, missing: float = 0.0) -> Tensor:
    """Σ_k weights[k] · terms[k]; a single term of weight 1 is handed on untouched."""
    if row is not None and len(terms) == 1 and row[next(iter(terms))] == 1.0:
        return next(iter(terms.values()))
    return weighted_sum(list(terms.values()), [weights[k] for k in terms], missing)


def rounded_rows(weights: Tensor, places: int = 6) -> list[list[float]]:
    """Rows of `weights` rounded so that each still sums to 1 (largest remainder)."""
    unit = 10**places
    rounded = []
    for row in weights.tolist():
        parts = [int(w * unit) for w in row]
        by_remainder = sorted(range(len(row)), key=lambda k: parts[k] - row[k] * unit)
        for k in by_remainder[: unit - sum(parts)]:
            parts[k] += 1
        rounded.append([p / unit for p in parts])
    return rounded


__all__ = ["ManticoreForCausalLM", "rounded_rows"]
