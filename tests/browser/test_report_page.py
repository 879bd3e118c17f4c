"""The page of a report, as a reader with no network sees it."""

from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from manticore_kit.reports import report, to_page

pytestmark = pytest.mark.browser
DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The page of a notebook with three figures (a surface, a curve, one held by a widget), text and a table."""
    out = tmp_path_factory.mktemp("report") / "figures.html"
    return report(DATA / "figures.ipynb", parameters={"steps": 12, "label": "</script><b>bowl"}, out=out)


def test_all_figures_are_drawn_with_the_network_cut(page, page_offline):
    shown = page_offline.open(page)
    assert [plot.get_attribute("id") for plot in shown.locator(".plot").all()] == ["figure-1", "figure-2", "figure-3"]
    assert shown.locator("#figure-1 .gl-container canvas").count() > 0
    assert page_offline.colours("#figure-1") > 500  # a surface is shaded
    assert shown.locator("#figure-2 .scatterlayer .trace").count() == 2
    assert shown.locator("#figure-3 .barlayer .point").count() == 2
    assert page_offline.problems == []


def test_a_blank_figure_would_be_noticed(page, page_offline):
    shown = page_offline.open(page)
    shown.locator("#figure-1").evaluate("(div) => Plotly.react(div, [], {paper_bgcolor: 'white'})")
    assert page_offline.colours("#figure-1") < 500


def test_the_page_refers_to_nothing_outside_itself(page):
    class References(HTMLParser):
        found: list[str]

        def handle_starttag(self, tag, attrs):
            self.found += [value for name, value in attrs if name in {"src", "srcset", "data", "poster"}]
            self.found += [value for name, value in attrs if name == "href" and tag != "a"]

    references = References()
    references.found = []
    references.feed(page.read_text())
    assert [reference for reference in references.found if not reference.startswith("data:")] == []


def test_the_header_says_what_ran_and_how_to_repeat_it(page, page_offline):
    header = page_offline.open(page).locator("header")
    assert header.locator("h1").inner_text() == "Two figures and some text"
    assert "steps 12 points along each axis" in " ".join(header.inner_text().split())
    assert "manticore report" in header.inner_text()
    assert "-p steps=12 -p 'label=</script><b>bowl'" in header.locator(".command").inner_text()


def test_text_from_models_stays_text(page, page_offline):
    shown = page_offline.open(page)
    assert "<script>window.ran = true</script> <b>not bold</b>" in shown.locator("main").inner_text()
    assert shown.evaluate("window.ran") is None


def test_formulas_are_drawn_by_the_browser(page, page_offline):
    shown = page_offline.open(page)
    assert shown.locator("math msub").count() >= 4
    assert "$" not in shown.locator(".prose").first.inner_text()


def test_figures_follow_the_colour_scheme(page, page_offline):
    page_offline.page.emulate_media(color_scheme="light")
    shown = page_offline.open(page)
    fill = "getComputedStyle(document.querySelector('#figure-2 .xtick text')).fill"
    light = shown.evaluate(fill)
    shown.emulate_media(color_scheme="dark")
    shown.wait_for_function(f"{fill} !== {light!r}")
    assert shown.evaluate(fill) == shown.evaluate("getComputedStyle(document.body).color")
    assert page_offline.problems == []


def test_code_is_folded_until_asked_for(page, page_offline):
    shown = page_offline.open(page)
    code = shown.get_by_text("np.meshgrid")
    assert not code.is_visible()
    shown.get_by_role("button", name="Show all code").click()
    assert code.is_visible()
    shown.get_by_role("button", name="Hide all code").click()
    assert not code.is_visible()


def test_a_page_runs_no_script_that_an_output_brings(tmp_path, page_offline):
    hostile = """<script>window.ran = "script"</script>
        <img src="data:," onerror="window.ran = 'handler'">
        <img src="https://example.org/pixel.png">
        <iframe src="https://example.org/"></iframe>"""
    figure = {"data": [{"type": "scatter", "y": [1, 2], "name": "<!--<script></script>"}], "layout": {}}
    outputs = [
        new_output("display_data", {"text/html": hostile}),
        new_output("display_data", {"application/javascript": "window.ran = 'javascript'", "text/plain": "plain"}),
        new_output("display_data", {"image/svg+xml": "<svg onload='window.ran = `svg`'></svg>"}),
        new_output("display_data", {"application/vnd.plotly.v1+json": figure}),
    ]
    nbformat.write(new_notebook(cells=[new_code_cell("", outputs=outputs)]), tmp_path / "hostile.ipynb")
    shown = page_offline.open(to_page(tmp_path / "hostile.ipynb", tmp_path / "hostile.html"))
    assert shown.locator("#figure-1 .scatterlayer .trace").count() == 1  # the page's own script ran to its end
    assert shown.evaluate("window.ran") is None
    assert not any(problem.startswith("asked for") for problem in page_offline.problems)
