"""How models are trained on MAD's tasks, as data: what `manticore mad run` takes beside a recipe.

    tasks: [in-context-recall, selective-copying]     # left out: all six
    seeds: [0, 1, 2]
    steps: 400
    learning_rates: [1.0e-3]                          # of several, the best on validation rows
    search: {method: darts}

The presets are the same thing by name: `smoke` shows in a minute that all works, `laptop` is for two CPU cores, and
`paper` is the published protocol (200 epochs, six settings of the optimiser), which wants a GPU.
"""

from itertools import product
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, JsonValue, field_validator

from manticore_kit.errors import ManticoreError
from manticore_kit.strict_data import StrictFile
from manticore_kit.tasks import mad
from manticore_kit.training.settings import Count, Rate, SearchSettings, TrainingSettings

Preset = Literal["smoke", "laptop", "paper"]


class MadPlanError(ManticoreError):
    """A plan for MAD tasks that cannot be used; the message lists every field at fault."""


class MadPlan(StrictFile):
    """Tasks, seeds, and one budget for every model on every task."""

    error: ClassVar[type[ManticoreError]] = MadPlanError
    noun: ClassVar[str] = "MAD plan"
    example: ClassVar[str] = "of settings to values, such as {tasks: [in-context-recall], steps: 400}"

    tasks: list[str] = Field(default_factory=lambda: list(mad.TASKS), min_length=1)
    settings: dict[str, dict[str, JsonValue]] = Field(
        default_factory=dict, description="settings of a task where they are not the baseline's, by its name"
    )
    num_examples: Count | None = Field(None, description="training rows; left out: as the protocol has them")
    judged_examples: Count | None = Field(None, description="validation and test rows; left out: as the protocol")
    data_seed: Annotated[int, Field(ge=0)] = Field(0, description="of the rows, the same for every model and seed")
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(default_factory=lambda: [0], min_length=1)
    width: Annotated[int, Field(ge=8)] = Field(128, description="of proxies; models with a `config` keep their own")
    layers: Count = Field(1, description="of proxies, in each block of each component")
    steps: Count = Field(400, description="at the most: a model that solves its task stops")
    batch_size: Count = 32
    learning_rates: list[Rate] = Field(default_factory=lambda: [1e-3], min_length=1)
    weight_decays: list[Rate] = Field(default_factory=lambda: [0.0], min_length=1)
    schedule: Literal["cosine", "constant"] = Field("cosine", description="of the learning rates, after a warm-up")
    mixture_rate: Rate = Field(0.1, description="learning rate of the mixture (published: 0.1 for MAD)")
    search: SearchSettings = Field(default_factory=lambda: SearchSettings.model_validate({}))
    stop_at_accuracy: Annotated[float, Field(gt=0, le=1)] = Field(
        0.999, description="on validation rows, looked at some twenty times"
    )

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: list[str]) -> list[str]:
        for task in tasks:
            mad.settings_of(task)
        return tasks

    @classmethod
    def preset(cls, name: Preset | str, **changes: Any) -> Self:
        """A plan by name, with `changes`. Raises `MadPlanError` for another name than `smoke`, `laptop` and `paper`."""
        if name not in _PRESETS:
            raise MadPlanError(f"There is no preset {name!r}; there are {', '.join(_PRESETS)}.")
        return cls.parse({**_PRESETS[name], **changes}, f"preset {name}")

    def task_settings(self, task: str) -> dict[str, Any]:
        """The settings of `task` that differ from the baseline."""
        return dict(self.settings.get(task, {}))

    def trainings(self, *, searched: bool) -> dict[tuple[float, float, int], TrainingSettings]:
        """How a model is trained for each learning rate, weight decay and seed; `searched` moves a mixture too."""
        often = max(1, self.steps // 20)
        return {
            (rate, decay, seed): TrainingSettings.parse(
                {
                    "steps": self.steps,
                    "batch_size": self.batch_size,
                    "weight_decay": decay,
                    "max_grad_norm": 0,  # the protocol clips nothing, and clipping at 1 costs attention its speed
                    "seed": seed,
                    "search": self.search.model_dump() if searched else None,
                    "evaluate_every": often,
                    "stop_at_accuracy": self.stop_at_accuracy,
                    "trainer": {"lr_scheduler_type": _SCHEDULES[self.schedule]},
                }
            ).at_rate(rate, self.mixture_rate if searched else None)
            for rate, decay, seed in product(self.learning_rates, self.weight_decays, self.seeds)
        }


_SCHEDULES = {"cosine": "cosine", "constant": "constant_with_warmup"}

_PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "tasks": ["in-context-recall", "selective-copying", "compression"],
        "settings": {
            "in-context-recall": {"seq_len": 16},
            "selective-copying": {"seq_len": 16, "num_tokens_to_copy": 4},
            "compression": {"seq_len": 8},
        },
        "num_examples": 64,
        "judged_examples": 64,
        "width": 32,
        "steps": 4,
        "batch_size": 8,
    },
    # Shorter rows than the baseline's, and a mixture that moves slowly: at the published rate it commits within fifty
    # steps, before the components have learned anything to choose by.
    "laptop": {
        "settings": {
            "in-context-recall": {"seq_len": 64},
            "noisy-in-context-recall": {"seq_len": 64},
            "fuzzy-in-context-recall": {"seq_len": 64},
            "selective-copying": {"seq_len": 128},
        },
        "judged_examples": 640,
        "seeds": [0, 1, 2],
        "steps": 500,
        "schedule": "constant",
        "mixture_rate": 0.01,
        "stop_at_accuracy": 0.99,
    },
    "paper": {
        "seeds": [0, 1, 2],
        "steps": 20_000,
        "batch_size": 128,
        "learning_rates": [1e-4, 5e-4, 1e-3],
        "weight_decays": [0.0, 0.1],
    },
}
