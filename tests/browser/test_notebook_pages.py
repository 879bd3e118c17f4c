"""The project's own notebooks, run headlessly into pages that a reader opens with the network cut."""

from pathlib import Path

import pytest

from manticore_kit.reports import report

pytestmark = [pytest.mark.browser, pytest.mark.slow]
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def page_of(name: str, folder: Path, **parameters) -> Path:
    return report(
        NOTEBOOKS / f"{name}.ipynb", parameters={"preset": "smoke", **parameters}, out=folder / f"{name}.html"
    )


def figures_of(page_offline, shown) -> list[str]:
    """Ids of the figures on a page, each of which is seen to be drawn."""
    drawn = [figure.get_attribute("id") for figure in shown.locator(".plot").all()]
    for figure in drawn:
        assert page_offline.colours(f"#{figure}") > 20, figure
    return drawn


def test_start_here(tmp_path, page_offline):
    shown = page_offline.open(page_of("00_start_here", tmp_path))
    assert shown.locator(".plot").count() == 1
    assert "tiny-mamba" in shown.locator("main").inner_text()
    assert page_offline.problems == []


def test_build_a_hybrid(tmp_path, page_offline):
    prompt = "</script><b>def</b> read(self, "
    results = tmp_path / "results"
    shown = page_offline.open(
        page_of("01_build_a_hybrid", tmp_path, results=str(results), prompts=[prompt], new_tokens=8)
    )
    drawn = figures_of(page_offline, shown)
    assert len(drawn) == 4
    assert shown.locator(f"#{drawn[3]} .gl-container canvas").count() > 0
    assert prompt in shown.locator("main").inner_text()
    assert page_offline.problems == []
    assert {file.name for file in results.iterdir()} == {
        "discretised",
        "hybrid",
        "recipe.yaml",
        "surface_aligned.npz",
        "surface_identity.npz",
    }


def test_pretrain_projectors(tmp_path, page_offline):
    results = tmp_path / "results"
    shown = page_offline.open(page_of("02_pretrain_projectors", tmp_path, results=str(results)))
    assert len(figures_of(page_offline, shown)) == 3
    assert "belong to tiny-gptneo" in shown.locator("main").inner_text()
    assert page_offline.problems == []
    assert list((results / "projectors").iterdir())


def test_search_mixtures(tmp_path, page_offline):
    results = tmp_path / "results"
    shown = page_offline.open(page_of("03_search_mixtures", tmp_path, results=str(results)))
    assert len(figures_of(page_offline, shown)) == 4
    # The live figure is among them, and so is every search of the table.
    text = shown.locator("main").inner_text()
    assert "A search by" in text
    for search in ("DARTS", "GAEA", "DASH"):
        assert search in text, search
    assert page_offline.problems == []


def test_mad(tmp_path, page_offline):
    results = tmp_path / "results"
    shown = page_offline.open(page_of("04_mad", tmp_path, results=str(results)))
    assert len(figures_of(page_offline, shown)) == 4
    text = shown.locator("main").inner_text()
    for entrant in ("MambaFormer", "StripedHyena", "hybrid of two, GAEA", "hybrid of three, DARTS", "majority"):
        assert entrant in text, entrant
    assert page_offline.problems == []


def test_program_a_hybrid(tmp_path, page_offline):
    results = tmp_path / "results"
    shown = page_offline.open(page_of("05_program_a_hybrid", tmp_path, results=str(results)))
    assert len(figures_of(page_offline, shown)) == 3
    text = shown.locator("main").inner_text()
    assert "programmed by the mean" in text
    assert "Spearman" in text
    assert page_offline.problems == []
    assert (results / "mad" / "mad.yaml").is_file()
    assert "mad.yaml" in (results / "programmed_recipe.yaml").read_text()
