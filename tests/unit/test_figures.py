"""Figures show the numbers they were given, on any page, and nothing in a name reaches the page as HTML."""

import json

import numpy as np
import pytest

from manticore_kit.analysis import Interval, LossSurface
from manticore_kit.analysis.mixtures import mixture_grid
from manticore_kit.errors import ManticoreError
from manticore_kit.figures import (
    blocks_figure,
    compare_surfaces_figure,
    component_color,
    loss_surface_figure,
    losses_figure,
)
from manticore_kit.figures.palette import COMPONENTS, HYBRID
from manticore_kit.figures.scale import LossScale
from manticore_kit.figures.triangle import _bands

EVIL = '<img src="x" onerror="alert(1)">&%{x}'
SHAPES = {"curve": (1, 2), "surface": (2, 2), "triangle": (1, 3)}


def make_surface(kind, names=None, points=5, offset=0.0):
    """Losses that are a quadratic bowl with its bottom inside of the grid."""
    blocks, components = SHAPES[kind]
    mixtures = mixture_grid(np.full((blocks, components), 1 / components), points=points)
    bowl = ((mixtures - [0.5, 0.25, 0.25][:components]) ** 2).sum(axis=(1, 2))
    examples = np.random.default_rng(0).normal(4.0, 0.3, size=16)
    names = tuple(names or ("tiny-gptneo", "tiny-mamba", "tiny-pythia")[:components])
    return LossSurface(names, mixtures, bowl[:, None] + examples + offset)


def every_figure(name_a="tiny-gptneo", name_b="tiny-mamba"):
    surfaces = {kind: make_surface(kind, [name_a, name_b, "third"][: SHAPES[kind][1]], offset=0.1) for kind in SHAPES}
    for kind, surface in surfaces.items():
        yield loss_surface_figure(surface, title=name_a)
        yield compare_surfaces_figure({name_a: surface, "other": make_surface(kind)}, title=name_a)
    yield loss_surface_figure(surfaces["surface"], kind="3d", title=name_a)
    spans = [[(0, 2), (2, 4)], [(0, 3), (3, 6)]]
    kinds = [["attention"] * 4, [name_a] * 6]
    yield blocks_figure([name_a, name_b], spans, [[0.5, 0.5], [0, 1]], layer_kinds=kinds, title=name_a)
    yield losses_figure({name_a: Interval(4, 3.9, 4.1), name_b: Interval(5, 4.8, 5.1)}, reference=name_a, title=name_a)


def walk(node, key=""):
    """(key, value) of everything in a figure's JSON."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from walk(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value, key)
    else:
        yield key, node


def named(figure, text):
    return [a for a in figure.layout.annotations if text in (a.text or "")]


def test_names_reach_the_page_escaped():
    for figure in every_figure(EVIL, "b"):
        strings = [(key, text) for key, text in walk(json.loads(figure.to_json())) if isinstance(text, str)]
        assert not [text for _, text in strings if "<img" in text]
        assert any("&lt;img" in text for _, text in strings), "the name is shown, escaped"
        # In a hover template %{x} in a name would be filled in.
        assert not [key for key, _ in strings if key in ("hovertemplate", "texttemplate")]


def test_figures_fit_any_page():
    for figure in every_figure():
        assert figure.layout.width is None
        assert 200 < figure.layout.height < 700
        assert figure.layout.template.layout.paper_bgcolor == "rgba(0,0,0,0)"
        assert figure.layout.template.layout.plot_bgcolor == "rgba(0,0,0,0)"


def test_the_contour_shows_first_block_across_and_second_block_up():
    surface = make_surface("surface")
    tilted = LossSurface(surface.component_names, surface.mixtures, surface.losses + 9 * surface.mixtures[:, :1, 1])
    contour = loss_surface_figure(tilted).data[0]
    heights = np.asarray(contour.z)
    assert (np.diff(heights, axis=1) > 0).all(), "9 nats more along block 1's weight"
    assert abs(heights[-1, 0] - heights[0, 0]) < 0.5
    figure = loss_surface_figure(tilted)
    assert figure.layout.xaxis.title.text == "weight of tiny-mamba in block 1"
    assert figure.layout.yaxis.title.text == "weight of tiny-mamba in block 2"


def test_components_frankenmerges_and_best_are_marked_where_they_are():
    surface = make_surface("surface")
    figure = loss_surface_figure(surface)
    for text, x, y in [
        ("<b>tiny-gptneo</b>", 0, 0),
        ("<b>tiny-mamba</b>", 1, 1),
        ("<b>tiny-gptneo → tiny-mamba</b>", 0, 1),
        ("<b>tiny-mamba → tiny-gptneo</b>", 1, 0),
    ]:
        (annotation,) = named(figure, text)
        assert (annotation.x, annotation.y) == (x, y)
        point = next(c.point for c in surface.corners if text == f"<b>{c.label}</b>")
        assert f"{surface.mean[point]:.2f}" in annotation.text
    (best,) = named(figure, "<b>best</b>")
    assert f"{surface.mean.min():.2f}" in best.text
    row = surface.mixtures[surface.best]
    assert (best.x, best.y) == (row[0, 1], row[1, 1])


def test_a_best_corner_is_called_best_and_not_marked_twice():
    surface = make_surface("surface")
    losses = surface.losses.copy()
    losses[surface.corners[1].point] -= 3
    figure = loss_surface_figure(LossSurface(surface.component_names, surface.mixtures, losses))
    assert not named(figure, "<b>best</b>")
    assert named(figure, ", best")[0].text.startswith("<b>tiny-mamba</b>")


def test_long_names_are_shortened_unless_that_makes_them_equal():
    long = make_surface("curve", ["EleutherAI/" + "n" * 60, "state-spaces/mamba-130m-hf"])
    figure = loss_surface_figure(long)
    assert named(figure, "n" * 23 + "…")
    assert named(figure, "<b>mamba-130m-hf</b>")
    figure = loss_surface_figure(make_surface("curve", ["one/model", "two/model"]))
    assert named(figure, "one/model")


def test_the_curve_has_its_points_and_a_band_that_closes_at_the_reference():
    surface = make_surface("curve")
    band, curve = loss_surface_figure(surface).data[:2]
    np.testing.assert_allclose(curve.y, surface.mean)
    np.testing.assert_allclose(curve.x, surface.mixtures[:, 0, 1])
    reference = surface.best_component.point
    points = len(surface.mean)
    high, low = np.asarray(band.y)[:points], np.asarray(band.y)[points:][::-1]
    assert (low <= surface.mean + 1e-9).all()
    assert (high >= surface.mean - 1e-9).all()
    assert low[reference] == high[reference]


def test_curve_points_in_any_order_are_drawn_from_left_to_right():
    surface = make_surface("curve")
    order = np.random.default_rng(0).permutation(len(surface.mean))
    shuffled = LossSurface(surface.component_names, surface.mixtures[order], surface.losses[order])
    assert (np.diff(loss_surface_figure(shuffled).data[1].x) > 0).all()


def test_compared_surfaces_share_one_colour_scale():
    low, high = make_surface("surface"), make_surface("surface", offset=2.0)
    figure = compare_surfaces_figure({"aligned": low, "identity": high})
    first, second = figure.select_traces({"type": "contour"})
    assert first.coloraxis == second.coloraxis == "coloraxis"
    assert np.min(first.z) == 0
    assert np.min(second.z) > 0.5
    assert np.max(second.z) == 1
    assert figure.layout.coloraxis.colorbar.ticktext[0] == f"{low.mean.min():.2f}"
    assert figure.layout.coloraxis.colorbar.ticktext[-1] == f"{high.mean.max():.2f}"


def test_the_colour_scale_does_not_stretch_rounding_differences():
    scale = LossScale.over([np.array([4.0, 4.0 + 1e-9])])
    assert scale.height([4.0, 4.0 + 1e-9]).max() < 0.01


def test_bands_tile_the_triangle():
    surface = make_surface("triangle", points=6)
    rng = np.random.default_rng(0)
    whole = 0.5  # the simplex in its first two weights
    for heights in (rng.uniform(size=len(surface.mean)), np.linspace(0, 1, len(surface.mean))):
        area = sum(
            abs(_area(outline))
            for _, outlines in _bands(surface.mixtures[:, 0], heights)
            for outline in np.split(outlines, np.flatnonzero(np.isnan(outlines[:, 0])))
            if np.isfinite(outline).any()
        )
        assert area == pytest.approx(whole, rel=1e-4)


def _area(outline):
    x, y = outline[np.isfinite(outline[:, 0])][:, :2].astype(float).T
    return 0.5 * (x[:-1] * y[1:] - x[1:] * y[:-1]).sum()


def test_mixtures_on_one_line_of_the_triangle_are_drawn_without_colours_between():
    weights = np.array([[[1 - t, t / 2, t / 2]] for t in np.linspace(0, 1, 4)])
    figure = loss_surface_figure(LossSurface(("a", "b", "c"), weights, np.random.default_rng(0).random((4, 5))))
    assert not [trace for trace in figure.data if trace.fill == "toself"]


def test_what_has_no_picture_is_refused():
    four = np.eye(4)[:, None, :]
    with pytest.raises(ManticoreError, match="1 varied blocks of 4 components cannot be drawn"):
        loss_surface_figure(LossSurface(tuple("abcd"), four, np.ones((4, 3))))
    with pytest.raises(ManticoreError, match="a curve has no 3-D form"):
        loss_surface_figure(make_surface("curve"), kind="3d")
    with pytest.raises(ManticoreError, match='"contour" or "3d"'):
        loss_surface_figure(make_surface("surface"), kind="2d")
    with pytest.raises(ManticoreError, match=r"left \(a curve\), right \(a triangle\)"):
        compare_surfaces_figure({"left": make_surface("curve"), "right": make_surface("triangle")})
    with pytest.raises(ManticoreError, match="given: none"):
        compare_surfaces_figure({})


def test_blocks_show_weights_and_layers():
    spans, mixture = [[(0, 2), (2, 5)], [(0, 1), (1, 3)]], [[0.25, 0.75], [1, 0]]
    figure = blocks_figure(["a", "b"], spans, mixture, layer_kinds=[["ssm"] * 4 + ["attention"], ["attention"] * 3])
    cells = {(a.x, a.y): a.text for a in figure.layout.annotations if a.text not in ("tokens", "logits")}
    assert "0.25" in cells[0, 1]
    assert "layers 1–2" in cells[0, 1]
    assert "layers 3–5" in cells[1, 1]
    assert "2 ssm" in cells[1, 1]
    assert "1 attention" in cells[1, 1]
    assert "layer 1<" in cells[0, 0]
    assert "0.00" in cells[1, 0]
    bars = [s for s in figure.layout.shapes if s.type == "rect" and s.fillcolor in COMPONENTS]
    widths = np.array([bar.x1 - bar.x0 for bar in bars])
    np.testing.assert_allclose(widths / widths.max(), [0.25, 0.75, 1, 0])
    wires = [s for s in figure.layout.shapes if s.type == "path"]
    assert len(wires) == 2 * 3, "none to or from a cell of weight 0"


@pytest.mark.parametrize(
    ("spans", "mixture"),
    [
        ([[(0, 2)]], [[0.5, 0.5]]),
        ([[(0, 2)], [(0, 1), (1, 2)]], [[0.5, 0.5]]),
        ([[(0, 2)], [(0, 2)]], [0.5, 0.5]),
        ([], []),
    ],
)
def test_blocks_of_other_sizes_are_refused(spans, mixture):
    with pytest.raises(ManticoreError, match="does not go with 2 names"):
        blocks_figure(["a", "b"], spans, mixture)


def test_losses_have_their_intervals_and_components_their_colours():
    losses = {"a": Interval(4.0, 3.8, 4.3), "b": Interval(5.0, 4.9, 5.1), "hybrid": Interval(3.5, 3.4, 3.6)}
    figure = losses_figure(losses, components=["b", "a"], reference="a")
    first = figure.data[0]
    assert first.x[0] + first.error_x.array[0] == pytest.approx(4.3)
    assert first.x[0] - first.error_x.arrayminus[0] == pytest.approx(3.8)
    assert [trace.marker.color for trace in figure.data] == [component_color(1), component_color(0), HYBRID]
    assert figure.layout.shapes[0].x0 == 4.0
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1], "first loss at the top"
    with pytest.raises(ManticoreError, match="reference is 'c'; losses are given for: a, b, hybrid"):
        losses_figure(losses, reference="c")
    with pytest.raises(ManticoreError, match="nothing"):
        losses_figure({})
