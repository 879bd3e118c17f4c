"""Parameters are checked before anything runs, failures are told apart from successes, nothing half-made is left."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from manticore_kit.errors import ManticoreError
from manticore_kit.reports import (
    NotebookFailed,
    check_parameters,
    declared_parameters,
    find_notebook,
    parse_assignments,
    report,
    run_notebook,
    to_page,
)
from manticore_kit.reports.markdown import markdown_to_html, tex_to_mathml

FIGURES = Path(__file__).parents[1] / "data" / "figures.ipynb"
PARAMETERS = """
steps: int = 20  # optimiser steps
rate: float = 0.5
quick: bool = False
name: str = "a"  # any name
size: str = "small"  # small | large: how much
cuts: list[int] = [1, 2]
rows: list[list[float]] = [[0.5, 0.5]]
"""


def write_notebook(path: Path, *sources: str, parameters: str = PARAMETERS, kernel: str = "python3") -> Path:
    first = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    kernelspec = {"name": kernel, "display_name": kernel, "language": "python"}
    notebook = new_notebook(cells=[first, *map(new_code_cell, sources)], metadata={"kernelspec": kernelspec})
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def notebook(tmp_path) -> Path:
    return write_notebook(tmp_path / "plain.ipynb")


def test_declared_parameters_keep_order_type_default_and_help(notebook):
    declared = declared_parameters(notebook)
    assert list(declared) == ["steps", "rate", "quick", "name", "size", "cuts", "rows"]
    assert declared["rows"].type == list[list[float]]
    assert declared["cuts"].default_value == [1, 2]
    assert str(declared["steps"]) == "steps: int = 20 (optimiser steps)"


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("steps=5", 5),
        ("rate=1e-3", 1e-3),
        ("rate=2", 2.0),
        ("quick=true", True),
        ("name=1e-3", "1e-3"),
        ("name=a=b", "a=b"),
        ("name=", ""),
        ("cuts=[2, 4]", [2, 4]),
        ("rows=[[1e-1, 0.9]]", [[0.1, 0.9]]),
    ],
)
def test_assignments_are_read_as_the_declared_type(notebook, assignment, value):
    (read,) = parse_assignments(notebook, [assignment]).values()
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("stesp=5", r"no parameter 'stesp' \(did you mean steps\?\).*cuts: list\[int\] = \[1, 2\]"),
        ("steps=many", r"steps='many' is refused.*steps: int = 20 \(optimiser steps\)"),
        ("steps=1.5", "steps='1.5' is refused"),
        ("quick=perhaps", "quick='perhaps' is refused"),
        ("cuts=[1, b]", r"refused \(\[1\]: "),
        ("cuts=[1", "this is not YAML"),
        ("cuts=3", "list"),
        ("size=smal", r"size='smal' is refused \(it is none of small, large; did you mean small\?\)"),
        ("steps", "-p name=value"),
    ],
)
def test_assignments_that_do_not_fit_are_refused_with_what_is_accepted(notebook, assignment, says):
    with pytest.raises(ManticoreError, match=says):
        parse_assignments(notebook, [assignment])


def test_values_of_another_type_are_refused(notebook):
    check_parameters(notebook, {"steps": 5, "rate": 1, "cuts": [], "rows": [[1.0, 0.0]]})
    for wrong in ({"steps": "5"}, {"steps": True}, {"steps": 5.0}, {"cuts": [1.5]}, {"quick": 1}, {"size": ""}):
        with pytest.raises(ManticoreError, match="is refused"):
            check_parameters(notebook, wrong)


def test_an_annotation_that_is_not_understood_says_which_are(tmp_path):
    path = write_notebook(tmp_path / "odd.ipynb", parameters="steps: Number = 1")
    with pytest.raises(ManticoreError, match="annotated 'Number'; annotate it with int, float"):
        check_parameters(path, {"steps": 1})


def test_a_run_uses_the_parameters_its_own_folder_and_this_kernel(tmp_path):
    source = "import os, sys; print(steps * 2, os.getcwd(), sys.executable)"
    path = write_notebook(tmp_path / "plain.ipynb", source, kernel="somebody-elses")
    executed = nbformat.read(run_notebook(path, tmp_path / "out" / "done.ipynb", {"steps": 21}), as_version=4)
    import sys

    assert executed.cells[-1].outputs[0].text.split() == ["42", str(tmp_path), sys.executable]
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["done.ipynb"]


def test_nothing_runs_if_a_parameter_is_wrong(tmp_path):
    path = write_notebook(tmp_path / "plain.ipynb", "open('ran', 'w').close()")
    with pytest.raises(ManticoreError, match="no parameter 'other'"):
        report(path, parameters={"other": 1}, out=tmp_path / "page.html")
    assert [file.name for file in tmp_path.iterdir()] == ["plain.ipynb"]


def test_a_failing_cell_is_named_and_leaves_the_notebook_up_to_it_and_no_page(tmp_path):
    path = write_notebook(tmp_path / "bad.ipynb", "print('reached')", "x = 0\n1 / x", "print('never')")
    with pytest.raises(NotebookFailed, match=r"bad.ipynb: cell \[3\], which begins 'x = 0', raised ZeroDivisionError"):
        report(path, out=tmp_path / "page.html")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bad.ipynb", "page.executed.ipynb"]
    left = (tmp_path / "page.executed.ipynb").read_text()
    assert "ZeroDivisionError" in left
    assert [cell.outputs[0].text for cell in nbformat.reads(left, 4).cells if cell.source == "print('reached')"] == [
        "reached\n"
    ]
    assert [cell.outputs for cell in nbformat.reads(left, 4).cells if cell.source == "print('never')"] == [[]]


def test_a_kernel_that_dies_is_a_failure(tmp_path):
    path = write_notebook(tmp_path / "dies.ipynb", "import os; os._exit(1)")
    with pytest.raises(NotebookFailed, match="the kernel died"):
        run_notebook(path, tmp_path / "out.ipynb")


def test_an_existing_page_is_kept(notebook, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("mine")
    with pytest.raises(ManticoreError, match=r"page\.html exists; .* --overwrite"):
        report(notebook, out=page)
    assert page.read_text() == "mine"
    assert report(notebook, out=page, overwrite=True) == page
    assert "plain" in page.read_text()


def test_pages_without_a_name_take_the_next_free_number(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pages = [str(report(notebook)) for _ in range(2)]
    assert pages == ["reports/plain.html", "reports/plain-2.html"]
    assert not [file for file in Path("reports").iterdir() if file.name.startswith(".")]


def test_runs_with_other_parameters_keep_their_files_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write = "import pathlib\nfolder = pathlib.Path(results)\nfolder.mkdir(parents=True)\n(folder / name).touch()"
    path = write_notebook(tmp_path / "plain.ipynb", write, parameters=PARAMETERS + 'results: str = "mine"  # folder\n')
    pages = [report(path, parameters={"name": name}) for name in ("a", "b")]
    folders = [page.with_suffix(".results") for page in pages]
    assert [[file.name for file in folder.iterdir()] for folder in folders] == [["a"], ["b"]]
    assert str(folders[1].resolve()) in pages[1].read_text()
    assert "-p results" not in pages[1].read_text()
    pages[1].unlink()
    with pytest.raises(ManticoreError, match=r"plain-2\.results exists; .* --overwrite"):
        report(path, out=pages[1])
    assert report(path).name == "plain-3.html"
    report(path, parameters={"results": str(tmp_path / "chosen")})
    assert [file.name for file in (tmp_path / "chosen").iterdir()] == ["a"]


def test_the_source_notebook_is_never_the_output(notebook):
    with pytest.raises(ManticoreError, match="would replace its source"):
        run_notebook(notebook, notebook)


def test_notebooks_are_found_by_name_and_near_names_are_suggested(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ManticoreError, match="there are none in"):
        find_notebook("00_start_here")
    Path("notebooks").mkdir()
    path = write_notebook(Path("notebooks/00_start_here.ipynb"))
    assert find_notebook("00_start_here") == find_notebook("00_start_here.ipynb") == find_notebook(path) == path
    with pytest.raises(ManticoreError, match="Did you mean 00_start_here"):
        find_notebook("00_start_hre")


def page_of(tmp_path: Path, *cells) -> str:
    nbformat.write(new_notebook(cells=list(cells)), tmp_path / "n.ipynb")
    return to_page(tmp_path / "n.ipynb", tmp_path / "n.html").read_text()


def test_text_is_escaped_wherever_it_stands(tmp_path):
    bad = "<script>alert(1)</script>"
    outputs = [
        new_output("stream", text=bad),
        new_output("stream", name="stderr", text=bad),
        new_output("execute_result", {"text/plain": bad}),
        new_output("error", ename="E", evalue=bad, traceback=[bad]),
        new_output("display_data", {"text/latex": f"$\\text{{{bad}}}$", "text/plain": bad}),
    ]
    page = page_of(tmp_path, new_markdown_cell(f"# {bad}\n\n$\\text{{{bad}}}$"), new_code_cell(bad, outputs=outputs))
    assert bad not in page
    assert page.count("&lt;script&gt;") >= 5


def test_a_page_without_figures_carries_no_plotly(tmp_path):
    assert len(page_of(tmp_path, new_code_cell("1"))) < 30_000


def test_widget_state_is_dropped_and_a_lone_control_is_noted(tmp_path):
    view, state = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"
    models = {
        "slider": {"model_name": "IntSliderModel", "state": {"description": "secret"}},
        "bar": {"model_name": "HBoxModel", "state": {"children": ["IPY_MODEL_inner"]}},
        "inner": {"model_name": "FloatProgressModel", "state": {"value": 1.0}},
    }
    notebook = new_notebook(
        cells=[
            new_code_cell("", outputs=[new_output("display_data", {view: {"model_id": model}, "text/plain": model})])
            for model in ("slider", "bar")
        ],
        metadata={"widgets": {state: {"state": models}}},
    )
    nbformat.write(notebook, tmp_path / "n.ipynb")
    page = to_page(tmp_path / "n.ipynb", tmp_path / "n.html").read_text()
    assert page.count("A live control stands here") == 1
    assert "secret" not in page


def test_formulas_become_mathml_and_unreadable_ones_stay_as_written():
    assert "<msub><mi>α</mi><mi>n</mi></msub>" in markdown_to_html(r"the row $\alpha_n$")
    assert 'display="block"' in markdown_to_html("$$x$$")
    assert tex_to_mathml("x_{ <b> \\frac") == "<code>x_{ &lt;b&gt; \\frac</code>"
