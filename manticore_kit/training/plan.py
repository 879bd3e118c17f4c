"""What the command line trains by: training settings, and what comes before and after.

steps: 300
search: {method: gaea}
projectors: {steps: 200}            # pretrained once for these components, then found in the store
mixture: runs/mad/result.json       # rows found elsewhere: programming
after: {do: discretise, by: beam}   # or {do: retrain}; with learning_rates and steps of its own where given
tune: {trials: 12}                  # learning rates by Optuna, on the search windows
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from manticore_kit.training.settings import Count, LearningRates, Rate, SettingsPart, TrainingSettings


class ProjectorPlan(SettingsPart):
    """Projector pretraining, and where sets are kept."""

    steps: Count = 200
    learning_rate: Rate = 2e-3
    store: str | None = Field(None, description="left out: $MANTICORE_PROJECTORS, else the user's cache")


class AfterPlan(SettingsPart):
    """What follows a search."""

    do: Literal["retrain", "discretise"]
    by: Literal["nearest", "beam"] = Field("nearest", description="how a discrete mixture is chosen")
    steps: Count | None = Field(None, description="left out: as many as the search")
    learning_rates: LearningRates | None = Field(
        None, description="left out: the search's; a discretised hybrid may want larger ones"
    )


class TunePlan(SettingsPart):
    """Learning rates chosen by Optuna, between a tenth and ten times those of the plan."""

    trials: Annotated[int, Field(ge=2)] = 12
    steps: Count | None = Field(None, description="of each trial; left out: as many as the training")


class Plan(TrainingSettings):
    """Training settings, and what comes before and after."""

    noun: ClassVar[str] = "plan"

    projectors: ProjectorPlan | None = None
    mixture: str | None = Field(None, description="file or run folder whose rows are set and frozen: programming")
    after: AfterPlan | None = None
    tune: TunePlan | None = None

    @model_validator(mode="after")
    def _in_order(self) -> "Plan":
        if self.after is not None and self.search is None:
            raise ValueError("`after` follows a search, and there is no `search`")
        if self.mixture is not None and self.search is not None:
            raise ValueError("`mixture` sets rows that stay, and `search` would move them: leave one out")
        return self

    @property
    def training(self) -> TrainingSettings:
        """The settings of the training alone."""
        return TrainingSettings.model_validate(self.model_dump(include=set(TrainingSettings.model_fields)))
