"""How a model is trained, as data: what a settings file holds, and what every run folder keeps.

    steps: 300
    batch_size: 16                  # windows in one optimiser step, over all processes together
    learning_rates: {components: 2.0e-4, projectors: 1.0e-3, embeddings: 2.0e-4, mixture: 1.0e-2}
    search: {method: gaea}          # left out: the mixture stays as it is
    trainer: {bf16: true}           # anything else that transformers' TrainingArguments takes

Everything about the optimisation that is not here is Hugging Face's Trainer's, and goes under `trainer:`.
"""

import dataclasses
import difflib
from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from manticore_kit.errors import ManticoreError
from manticore_kit.strict_data import Strict, StrictFile

Part = Literal["components", "projectors", "embeddings", "mixture"]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]

# TrainingArguments that the settings' own fields, or the run folder, decide.
_OWNED = {
    "output_dir": "the run's folder",
    "max_steps": "`steps`",
    "num_train_epochs": "`steps`",
    "per_device_train_batch_size": "`batch_size`",
    "learning_rate": "`learning_rates`",
    "weight_decay": "`weight_decay`",
    "warmup_steps": "`warmup`",
    "seed": "`seed`",
    "data_seed": "`seed`",
    "save_strategy": "`checkpoint_every`",
    "save_steps": "`checkpoint_every`",
    "save_total_limit": "`checkpoint_every`",
    "save_only_model": "`checkpoint_every`",
    "eval_strategy": "`evaluate_every`",
    "eval_steps": "`evaluate_every`",
    "train_sampling_strategy": "the order of the examples",
    "load_best_model_at_end": "what comes after the search",
    "resume_from_checkpoint": "the run's folder",
    "optim": "the parts' optimiser (AdamW, and the exponentiated gradient of GAEA)",
}


class SettingsError(ManticoreError):
    """Settings that cannot be used; the message lists every field at fault."""


class SettingsPart(Strict):
    """A part of the settings."""

    error = SettingsError


class LearningRates(SettingsPart):
    """Peak learning rate of each part; 0 freezes it. The defaults for text are the paper's (section 4)."""

    components: Rate = 2e-4
    projectors: Rate = 2e-4
    embeddings: Rate = 2e-4
    mixture: Rate | None = Field(
        None, description="of the logits (DARTS, DASH; left out: 0.01) or of the exponentiated gradient (GAEA; 0.1)"
    )


class SearchSettings(SettingsPart):
    """How mixture weights are searched (paper, section 3; ablation of the updates in its Table 4)."""

    method: Literal["darts", "gaea", "dash"] = "darts"
    level: Literal["single", "bilevel"] = Field(
        "single", description="the mixture's gradient from the training batches, or from batches held for it"
    )
    updates: Literal["simultaneous", "alternating"] = Field(
        "simultaneous", description="weights and mixture step from one point, or the mixture after the weights"
    )
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        1.0, description="of DASH's Gumbel noise: the higher, the less noise, and the less it draws weights to corners"
    )


class DataSettings(SettingsPart):
    """Which text: the built-in one in a mix of its kinds, or files of one's own."""

    files: list[str] | None = Field(None, min_length=1, description="text files (UTF-8); left out: the built-in text")
    mix: dict[Literal["prose", "code"], Rate] = Field(
        default_factory=lambda: {"prose": 0.5, "code": 0.5}, description="shares of the built-in text's kinds"
    )
    length: Annotated[int, Field(ge=2)] = Field(128, description="tokens of a window")
    held_out: Annotated[int, Field(ge=2)] = Field(128, description="windows that losses are reported on")
    search: Annotated[int, Field(ge=0)] = Field(
        128, description="windows kept for the mixture's own steps (bilevel) and for choices after a search"
    )

    @field_validator("mix")
    @classmethod
    def _something(cls, mix: dict[str, float]) -> dict[str, float]:
        if not sum(mix.values()) > 0:
            raise ValueError("the mix needs a kind with a share above 0, such as {prose: 1}")
        return mix


class TrainingSettings(StrictFile):
    """How a model is trained."""

    error: ClassVar[type[ManticoreError]] = SettingsError
    noun: ClassVar[str] = "settings file"
    example: ClassVar[str] = "of settings to values, such as {steps: 300, search: {method: gaea}}"

    steps: Count = Field(300, description="optimiser steps")
    batch_size: Count = Field(16, description="windows in one step, over all processes and accumulated batches")
    learning_rates: LearningRates = Field(default_factory=lambda: LearningRates.model_validate({}))
    freeze: list[Part] = Field(default_factory=list, description="parts that do not move")
    weight_decay: Rate = Field(0.01, description="of all parts but the mixture")
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(0.05, description="share of the steps that warm up")
    max_grad_norm: Rate = Field(1.0, description="gradients are clipped to this norm; 0: never")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    search: SearchSettings | None = Field(None, description="left out: the mixture stays as it is")
    data: DataSettings = Field(default_factory=lambda: DataSettings.model_validate({}))
    evaluate_every: Annotated[int, Field(ge=0)] | None = Field(
        None, description="steps between held-out losses; left out: a tenth of all; 0: those at the end only"
    )
    stop_at_accuracy: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="ends sooner, once the accuracy on held-out examples reaches this; of tasks that have one"
    )
    checkpoint_every: Count | None = Field(None, description="steps between checkpoints; left out: a tenth of all")
    trainer: dict[str, JsonValue] = Field(default_factory=dict, description="further fields of TrainingArguments")

    @field_validator("trainer")
    @classmethod
    def _known(cls, given: dict[str, JsonValue]) -> dict[str, JsonValue]:
        from transformers import TrainingArguments

        known = {field.name for field in dataclasses.fields(TrainingArguments)}
        for name in given:
            if name in _OWNED:
                raise ValueError(f"{name} is decided by {_OWNED[name]}")
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"transformers' TrainingArguments have no field {name!r}{hint}")
        return given

    @model_validator(mode="after")
    def _something_moves(self) -> "TrainingSettings":
        if self.search is not None and ("mixture" in self.freeze or self.learning_rates.mixture == 0):
            raise ValueError("a search moves the mixture: leave it out of `freeze`, with a learning rate above 0")
        if not self.moving:
            raise ValueError("every part is frozen, so there is nothing to train")
        return self

    def at_rate(self, rate: float, mixture_rate: float | None = None) -> "TrainingSettings":
        """These settings with one learning rate for all weights, and the mixture's own."""
        rates = {"components": rate, "projectors": rate, "embeddings": rate, "mixture": mixture_rate}
        return self.model_copy(update={"learning_rates": LearningRates.model_validate(rates)})

    @property
    def rates(self) -> dict[str, float]:
        """The learning rate of each part."""
        usual = 0.1 if self.search is not None and self.search.method == "gaea" else 0.01
        rates = self.learning_rates.model_dump()
        return {**rates, "mixture": usual if rates["mixture"] is None else rates["mixture"]}

    @property
    def moving(self) -> tuple[Part, ...]:
        """The parts that are trained: those not frozen, and the mixture in a search only."""
        frozen = {*self.freeze, *(part for part, rate in self.rates.items() if rate == 0)}
        if self.search is None:
            frozen.add("mixture")
        return tuple(part for part in self.rates if part not in frozen)  # pyright: ignore[reportReturnType]
