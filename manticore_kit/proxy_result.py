"""The file that a search on proxy tasks leaves: for each task and seed the mixture that was found, and how it scored.

    families: [gpt_neo, mamba]          # model types, in the order of the mixture's columns
    blocks: 2
    search: darts
    tasks:
      in-context-recall:
        mixtures: [[[0.4, 0.6], [0.7, 0.3]], ...]      # one for each seed: a row per block
        accuracy: [0.98, ...]                          # on test rows
        random: 0.125

A recipe names such a file to be programmed by it (`program: {mad: FILE}`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from manticore_kit.errors import ManticoreError
from manticore_kit.strict_data import Strict, StrictFile

Share = Annotated[float, Field(ge=0, le=1)]
Rows = list[list[float]]

# Rows that were written with six places may be off by so much.
_SUM_TOLERANCE = 1e-3


class ProxyResultError(ManticoreError):
    """A result of proxy tasks that cannot be used."""


class TaskResult(Strict):
    """What was found on one task: `mixtures[seed]` has a row per block; accuracies are micro, on test rows."""

    error = ProxyResultError

    mixtures: list[Rows] = Field(min_length=1)
    accuracy: list[Share] = Field(min_length=1)
    random: Share = Field(description="accuracy of guessing")

    @field_validator("mixtures")
    @classmethod
    def _on_simplex(cls, mixtures: list[Rows]) -> list[Rows]:
        for row in (row for rows in mixtures for row in rows):
            if min(row, default=-1) < 0 or abs(sum(row) - 1) > _SUM_TOLERANCE:
                raise ValueError(f"the row {row} is no mixture: weights must be 0 or more, with sum 1")
        return mixtures

    @property
    def mixture(self) -> Rows:
        """The mean over seeds."""
        return _mean([(rows, 1.0) for rows in self.mixtures])


class ProxyResult(StrictFile):
    """What a search on proxy tasks found for hybrids of these `families` and `blocks`."""

    error: ClassVar[type[ManticoreError]] = ProxyResultError
    noun: ClassVar[str] = "MAD result"
    example: ClassVar[str] = "with `families`, `blocks` and `tasks`, as `manticore mad run` writes it"

    families: list[str] = Field(min_length=1)
    blocks: Annotated[int, Field(ge=1)]
    search: str
    tasks: dict[str, TaskResult] = Field(min_length=1)
    plan: dict[str, JsonValue] = Field(default_factory=dict, description="how it was found")

    @model_validator(mode="after")
    def _of_one_shape(self) -> Self:
        for name, task in self.tasks.items():
            for rows in task.mixtures:
                if len(rows) != self.blocks or {len(row) for row in rows} != {len(self.families)}:
                    raise ValueError(
                        f"tasks.{name}: a mixture has {len(rows)} rows of {[len(row) for row in rows]} weights, where "
                        f"{self.blocks} blocks of {len(self.families)} families are wanted"
                    )
        return self

    def mixture(self, tasks: Mapping[str, float] | None = None) -> Rows:
        """The mean of the tasks' mixtures, weighted by `tasks`; left out, all tasks count the same.

        A mean of rows on the simplex is on the simplex. Raises `ProxyResultError` for tasks that are not in the result,
        and where no weight is above 0.
        """
        weights = dict.fromkeys(self.tasks, 1.0) if tasks is None else dict(tasks)
        if unknown := [name for name in weights if name not in self.tasks]:
            raise ProxyResultError(
                f"the MAD result has no task {unknown[0]!r}; it has {', '.join(self.tasks)}. Name some of these, or "
                "run the missing one with `manticore mad run`."
            )
        if min(weights.values(), default=0) < 0 or not sum(weights.values()) > 0:
            raise ProxyResultError(f"weights of tasks are {weights}: none may be below 0, and one must be above.")
        return _mean([(self.tasks[name].mixture, weight) for name, weight in weights.items()])

    def refuse_others(self, families: list[str], blocks: int, where: str) -> None:
        """Raises `ProxyResultError` where a hybrid of these `families` and `blocks` is not what was searched for."""
        if families != self.families or blocks != self.blocks:
            raise ProxyResultError(
                f"{where} was found for {self.blocks} blocks of {' and '.join(self.families)}, and this hybrid has "
                f"{blocks} blocks of {' and '.join(families)}. Run `manticore mad run` for this recipe."
            )


class Programming(Strict):
    """Where a recipe's mixture comes from, in place of rows: a MAD result, and which of its tasks count how much."""

    error = ProxyResultError

    mad: str = Field(min_length=1, description="file or folder that `manticore mad run` wrote")
    tasks: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None = Field(
        None, description="tasks and their weights, or a list of tasks; left out: all the same"
    )

    @field_validator("tasks", mode="before")
    @classmethod
    def _listed(cls, tasks: Any) -> Any:
        return dict.fromkeys(tasks, 1.0) if isinstance(tasks, list) else tasks

    @property
    def result(self) -> ProxyResult:
        """The result that is named. Raises `ProxyResultError` where it cannot be read."""
        return ProxyResult.from_yaml(result_file(self.mad))

    @property
    def rows(self) -> Rows:
        """The mixture: a row per block."""
        return self.result.mixture(self.tasks)


def result_file(place: str | Path) -> Path:
    """The file of a result that is named by itself or by its folder."""
    path = Path(place).expanduser()
    return path / "mad.yaml" if path.is_dir() else path


def _mean(weighted: list[tuple[Rows, float]]) -> Rows:
    total = sum(weight for _, weight in weighted)
    blocks, components = len(weighted[0][0]), len(weighted[0][0][0])
    return [
        [sum(rows[n][k] * weight for rows, weight in weighted) / total for k in range(components)]
        for n in range(blocks)
    ]
