"""The command line: `manticore …`, a thin shell over the library's functions.

Everything is imported when its command runs, so that `manticore --help` answers at once. Errors that the library raises
on purpose are printed as they are, without a traceback.
"""

import os
import sys
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from manticore_kit.errors import ManticoreError

_PLAIN = {"no_args_is_help": True, "rich_markup_mode": None}
app = typer.Typer(
    help="A workbench for pretrained hybrids of language models.",
    add_completion=False,
    pretty_exceptions_enable=False,
    **_PLAIN,
)
zoo_app = typer.Typer(help="The small models that come with the workbench.", **_PLAIN)
app.add_typer(zoo_app, name="zoo")
mad_app = typer.Typer(help="Mixtures found on MAD's proxy tasks.", **_PLAIN)
app.add_typer(mad_app, name="mad")


def main() -> None:
    """Run the command line, with deliberate errors as one message and exit status 1."""
    # Before torch is imported here or in a kernel: idle threads of GNU OpenMP spin for long, which costs a machine that
    # is shared more than ten times the work itself (small models, many short operations).
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        app()
    except ManticoreError as error:
        print(f"manticore: {error}", file=sys.stderr)
        raise SystemExit(1) from None


@app.command()
def describe(
    model: Annotated[str, typer.Argument(help="A zoo name, a hub id or a folder.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that the model brings.")
    ] = False,
) -> None:
    """Say what a model is made of.

    Family, layers and their kinds, width, parameters, tokenizer, context.
    """
    from manticore_kit.components import describe

    _hide_loading_bars()
    description = describe(model, trust_remote_code=trust_remote_code).model_dump()
    if json:
        _print_json(description)
    else:
        _print_aligned([(name.replace("_", " "), _readable(value)) for name, value in description.items()])


@app.command()
def build(
    recipe: Annotated[Path, typer.Argument(help="A recipe in YAML.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to save the hybrid in, new or empty.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the hybrid that the folder holds.")] = False,
) -> None:
    """Build a recipe's hybrid and save it.

    The folder holds the weights, the recipe and the tokenizer. Its path is the last line printed.
    """
    from manticore_kit import Recipe

    description = Recipe.from_yaml(recipe)
    _check_room_for_hybrid(out, overwrite)
    from manticore_kit import build as build_hybrid  # takes seconds

    try:
        hybrid = build_hybrid(description)
    except ManticoreError as error:
        raise ManticoreError(f"{recipe}: {error}") from error
    _hide_loading_bars()  # downloads and slow reading showed theirs; that of writing jumps from nothing to all
    hybrid.save_pretrained(out)
    _print_aligned(_facts_of_hybrid(hybrid, out))
    print(out)


_SOURCE = typer.Argument(help="A recipe in YAML, or the folder of a saved hybrid.")
_PLAN = typer.Argument(help="What to do, in YAML: docs/training.md.")
_RUN = typer.Option("-o", "--out", help="The run's folder, new or the same again.")


@app.command()
def train(source: Annotated[Path, _SOURCE], plan: Annotated[Path, _PLAN], out: Annotated[Path, _RUN]) -> None:
    """Train a hybrid; its mixture stays as it is.

    Started again with the same folder, it goes on where it stopped. The folder is the last line printed.
    """
    _train_or_search(source, plan, out, "train")


@app.command()
def search(source: Annotated[Path, _SOURCE], plan: Annotated[Path, _PLAN], out: Annotated[Path, _RUN]) -> None:
    """Search a hybrid's mixture while it trains, and do what is to follow.

    Started again with the same folder, it goes on where it stopped. The folder is the last line printed.
    """
    _train_or_search(source, plan, out, "search")


@app.command()
def program(
    source: Annotated[Path, _SOURCE],
    result: Annotated[Path, typer.Argument(help="What `manticore mad run` left: its folder, or mad.yaml.")],
    plan: Annotated[
        Path | None, typer.Argument(help="How to train, in YAML: docs/training.md. Left out: 100 steps of 8 windows.")
    ] = None,
    out: Annotated[Path, _RUN] = Path("runs/programmed"),
    tasks: Annotated[
        list[str] | None,
        typer.Option("-t", "--task", metavar="NAME[=WEIGHT]", help="A task that counts; left out: all the same."),
    ] = None,
) -> None:
    """Set a mixture that was found on proxy tasks, and train the rest of the hybrid.

    The mixture stays as it was found. Started again with the same folder, it goes on where it stopped.
    """
    from manticore_kit.proxy_result import Programming, ProxyResult, result_file
    from manticore_kit.training.plan import Plan

    by = Programming.model_validate({"mad": str(result), "tasks": _weights_of_tasks(tasks)})
    ProxyResult.from_yaml(result_file(result)).mixture(by.tasks)  # mistakes show before anything is loaded
    steps = Plan.from_yaml(plan) if plan is not None else Plan.parse({"steps": 100, "batch_size": 8})
    from manticore_kit.training import workflow  # takes seconds

    _hide_loading_bars()
    run = workflow.program(source, by, steps, out, progress=True)
    _print_aligned(_facts_of_run(run))
    print(run.folder)


@mad_app.command("run")
def mad_run(
    recipe: Annotated[Path, typer.Argument(help="A recipe in YAML: its families and blocks are searched.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder of this search, new or the same again.")],
    plan: Annotated[Path | None, typer.Option("--plan", help="What to do, in YAML: docs/mad.md.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="A plan by name: smoke, laptop, paper.")] = None,
    tasks: Annotated[
        list[str] | None, typer.Option("-t", "--task", metavar="NAME", help="A task, in place of the plan's.")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Trainings at a time; left out: one a core.")] = None,
) -> None:
    """Search the mixture of small hybrids from scratch on proxy tasks.

    They have the recipe's families and blocks. What was found is one file in the folder, mad.yaml, by which `manticore
    program` and recipes set the mixture of pretrained hybrids. Started again, what is missing is run.
    """
    from manticore_kit.mad.plan import MadPlan

    if plan is not None and preset is not None:
        raise ManticoreError("A plan's file and a preset both say what to do: give --plan or --preset.")
    chosen = MadPlan.from_yaml(plan) if plan is not None else MadPlan.preset(preset or "laptop")
    if tasks:
        chosen.tasks = tasks
    from manticore_kit import Recipe
    from manticore_kit.mad.search import search as search_on_mad  # takes seconds
    from manticore_kit.proxy_result import result_file
    from manticore_kit.training.protocol import told

    _hide_loading_bars()
    found = search_on_mad(Recipe.from_yaml(recipe), chosen, out, workers=workers, progress=told("proxy tasks"))
    _print_table(_rows_of_result(found))
    print(result_file(out))


@mad_app.command("tasks")
def mad_tasks() -> None:
    """List the tasks and their baseline settings."""
    from manticore_kit.tasks import mad

    for task in mad.TASKS:
        settings = mad.settings_of(task).plain()
        print(f"{task}: {', '.join(f'{name}={value}' for name, value in settings.items())}")


@app.command()
def report(
    notebook: Annotated[str, typer.Argument(help="A path, or a name under notebooks/.")],
    parameters: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="Set a parameter of the notebook."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The page; by default reports/NOTEBOOK.html, numbered if taken.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page if it exists.")] = False,
) -> None:
    """Execute a notebook into one HTML page.

    The page opens with no network; the executed notebook lies beside it.
    """
    from manticore_kit.reports import find_notebook, parse_assignments
    from manticore_kit.reports import report as write_report

    path = find_notebook(notebook)
    values = parse_assignments(path, parameters or [])
    print(write_report(path, parameters=values, out=out, overwrite=overwrite, progress=True))


@app.command()
def doctor() -> None:
    """Say what this machine has and lacks.

    Versions, CUDA and its kernels, the selective scan, models, hub, Jupyter, browser.
    """
    from manticore_kit.doctor import examine

    _print_aligned([(row.name, f"{row.value}  [{row.hint}]" if row.hint else row.value) for row in examine()])


@zoo_app.command("list")
def zoo_list() -> None:
    """List the zoo's models."""
    from manticore_kit import zoo

    _print_aligned([(name, _card_line(zoo.card(name))) for name in zoo.names()])


@zoo_app.command("build")
def zoo_build(
    names: Annotated[list[str] | None, typer.Argument(help="Which models; all of them if none is named.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to write their folders to.")] = Path("zoo"),
) -> None:
    """Train the zoo's models anew on the text that comes with Python."""
    from manticore_kit import zoo

    for folder in zoo.build(names, out):
        print(folder)


def _train_or_search(source: Path, plan: Path, out: Path, what: str) -> None:
    from manticore_kit.training.plan import Plan

    steps = Plan.from_yaml(plan)
    if (steps.search is None) == (what == "search"):
        hint = (
            "add `search: {method: gaea}`, or use `manticore train`" if what == "search" else "use `manticore search`"
        )
        raise ManticoreError(f"{plan}: {'no search' if what == 'search' else 'a search'} is in this plan; {hint}")
    from manticore_kit.training import workflow  # takes seconds
    from manticore_kit.training.processes import is_first_process
    from manticore_kit.training.run import Run

    _hide_loading_bars()
    first = is_first_process()
    do = workflow.search if what == "search" else workflow.train
    run = do(source, steps, out, progress=True, say=print if first else _say_nothing)
    if first:
        if run.folder != out:  # something followed the search
            print("The search:")
            _print_aligned(_facts_of_run(Run(out)))
            print(f"\n{run.folder.name.capitalize()}:")
        _print_aligned(_facts_of_run(run))
        print(run.folder)


def _weights_of_tasks(tasks: list[str] | None) -> dict[str, float] | None:
    if not tasks:
        return None
    weights = {}
    for given in tasks:
        name, _, weight = given.partition("=")
        try:
            weights[name] = float(weight or 1)
        except ValueError:
            raise ManticoreError(
                f"--task {given}: {weight!r} is no number; write NAME or NAME=WEIGHT, such as compression=0.5."
            ) from None
    return weights


def _rows_of_result(result) -> list[dict[str, object]]:
    """A line for each task of a MAD result: how well it was solved, and the mixture that was found."""
    rows = []
    for task, found in result.tasks.items():
        accuracy = sum(found.accuracy) / len(found.accuracy)
        blocks = "; ".join(" ".join(f"{w:.2f}" for w in row) for row in found.mixture)
        rows.append({"task": task, "accuracy": accuracy, "guessing": found.random, "mixture by block": blocks})
    return rows


def _print_table(rows: list[dict[str, object]]) -> None:
    from manticore_kit.figures import Table

    print(Table(rows))


def _say_nothing(text: str) -> None:
    pass


def _facts_of_run(run) -> list[tuple[str, str]]:
    from manticore_kit.analysis.units import perplexity

    result = run.result
    losses = ", ".join(f"{kind} {loss:.4f}" for kind, loss in result["held_out"].items())
    facts = [
        (
            "held-out loss",
            f"{result['loss']:.4f} nats per token, perplexity {perplexity(result['loss']):.4g} ({losses})",
        )
    ]
    for n, row in enumerate(result["mixture"] or [], start=1):
        named = zip(row, result["components"], strict=True)
        facts.append((f"block {n}", ", ".join(f"{w:.3f} {name}" for w, name in named)))
    spent = (
        f"{result['steps']} steps, {result['seconds']:.0f} s ({result['processor_seconds']:.0f} s of processor time)"
    )
    return [*facts, ("spent", spent)]


def _check_room_for_hybrid(folder: Path, overwrite: bool) -> None:
    """Refuse a folder whose files a hybrid would be mixed with, or replace unasked."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not _holds_hybrid(folder):
        raise ManticoreError(f"{folder} exists and holds no hybrid; name a folder that is new or empty")
    if not overwrite:
        raise ManticoreError(
            f"{folder} holds a hybrid already; name another folder, or allow it to be replaced with --overwrite"
        )


def _holds_hybrid(folder: Path) -> bool:
    import json

    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"] == "manticore"
    except (OSError, ValueError, KeyError, TypeError):  # no such file, or another program's
        return False


def _facts_of_hybrid(hybrid, folder: Path) -> list[tuple[str, str]]:
    from manticore_kit.analysis import folder_bytes

    names = hybrid.config.component_names
    parts = [
        f"{name} (layers {', '.join(f'{first}-{end - 1}' if end - first > 1 else str(first) for first, end in spans)})"
        for name, spans in zip(names, hybrid.config.spans, strict=True)
    ]
    rows = [", ".join(f"{w:.3g} {name}" for w, name in zip(row, names, strict=True)) for row in hybrid.recipe.rows]
    return [
        ("components", ", ".join(parts)),
        ("mixture", "; ".join(f"block {n}: {row}" for n, row in enumerate(rows, start=1))),
        ("size", f"{hybrid.num_parameters():,} parameters, {folder_bytes(folder) / 1e6:,.1f} MB on disk"),
        ("load with", f"manticore_kit.ManticoreForCausalLM.from_pretrained({str(folder)!r})"),
    ]


def _hide_loading_bars() -> None:
    """Reading a model from disk is over before its bar is drawn; downloads keep theirs."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


def _card_line(card: dict) -> str:
    losses = ", ".join(f"{kind} {loss:.2f}" for kind, loss in card["held_out"]["loss"].items())
    return f"{card['architecture']}, {card['parameters']:,} parameters, held-out nats per token: {losses}"


def _readable(value: object) -> str:
    if isinstance(value, tuple):  # the kinds of layers: runs of one kind as "attention × 4"
        runs = [(kind, len(list(run))) for kind, run in groupby(value)]
        return ", ".join(f"{kind} × {length}" if length > 1 else kind for kind, length in runs)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return "unlimited" if value is None else str(value)


def _print_aligned(rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def _print_json(value: object) -> None:
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))
