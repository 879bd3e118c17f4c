"""Figures of trainings: every number that was given is drawn, names are text, sizes that do not match are refused."""

import numpy as np
import pytest

from manticore_kit.analysis.comparison import compare_losses
from manticore_kit.analysis.surface import LossSurface
from manticore_kit.errors import ManticoreError
from manticore_kit.figures import (
    comparison_figure,
    component_color,
    curves_figure,
    loss_surface_figure,
    trajectory_figure,
)

HOSTILE = "<img src=x onerror=alert(1)>"
RNG = np.random.default_rng(0)


def way(times: int, blocks: int, components: int) -> np.ndarray:
    return RNG.dirichlet(np.ones(components), size=(times, blocks))


@pytest.mark.parametrize(("blocks", "components"), [(1, 2), (2, 2), (3, 4), (8, 3)])
def test_a_trajectory_draws_every_weight_of_every_block(blocks, components):
    mixtures, steps = way(5, blocks, components), np.arange(5) * 10
    names = [f"model {k}" for k in range(components)]
    figure = trajectory_figure(names, steps, mixtures)
    assert len(figure.data) == blocks * components
    for index, line in enumerate(figure.data):
        block, k = divmod(index, components)
        assert np.allclose(line.y, mixtures[:, block, k])
        assert line.line.color == component_color(k)
    assert [line.showlegend for line in figure.data] == [True] * components + [False] * components * (blocks - 1)


def test_curves_have_the_mean_and_the_range_of_their_seeds():
    losses = RNG.normal(3, 0.1, (4, 6))
    figure = curves_figure({"one": (np.arange(6), losses[0]), "several": (np.arange(6), losses)}, components=["one"])
    one, band, several = figure.data
    assert one.line.color == component_color(0)
    assert np.allclose(one.y, losses[0])
    assert np.allclose(several.y, losses.mean(axis=0))
    assert np.allclose(band.y, [*losses.max(axis=0), *losses.min(axis=0)[::-1]])


def test_a_comparison_draws_every_training():
    losses = {"a": RNG.normal(3, 0.1, (3, 20)), "b": RNG.normal(3, 0.1, (1, 20))}
    figure = comparison_figure(compare_losses(losses, "b", resamples=99), components=["a"], title="title")
    dots = [trace for trace in figure.data if trace.marker.size == 5]
    assert len(dots) == 1
    assert np.allclose(dots[0].x, losses["a"].mean(axis=1))


def surface() -> LossSurface:
    weights = np.linspace(0, 1, 3)
    mixtures = np.array([[[1 - a, a], [1 - b, b]] for a in weights for b in weights])
    return LossSurface(("a", "b"), mixtures, RNG.normal(3, 0.1, (9, 4)))


def test_a_path_is_drawn_in_the_weights_of_the_axes():
    path, measured = way(6, 2, 2), surface()
    plain, drawn = loss_surface_figure(measured), loss_surface_figure(measured, path=path)
    line, ends = drawn.data[len(plain.data) :]
    assert np.allclose(line.x, path[:, 0, 1])
    assert np.allclose(line.y, path[:, 1, 1])
    assert np.allclose(ends.x, path[[0, -1], 0, 1])


def test_names_are_text():
    mixtures, losses = way(3, 1, 2), {HOSTILE: RNG.normal(3, 0.1, (2, 9)), "b": RNG.normal(3, 0.1, (2, 9))}
    for figure in (
        trajectory_figure([HOSTILE, "b"], range(3), mixtures, title=HOSTILE),
        curves_figure({HOSTILE: (range(3), range(3))}, title=HOSTILE),
        comparison_figure(compare_losses(losses, HOSTILE, resamples=99), title=HOSTILE),
    ):
        assert "<img" not in figure.to_json()


def test_sizes_that_do_not_match_are_refused():
    with pytest.raises(ManticoreError, match=r"\(3, 1, 2\).*4 steps"):
        trajectory_figure(["a", "b"], range(4), way(3, 1, 2))
    with pytest.raises(ManticoreError, match="a: 3 losses do not go with 2 steps"):
        curves_figure({"a": ([0, 1], [1, 2, 3])})
    with pytest.raises(ManticoreError, match="no curves"):
        curves_figure({})
    with pytest.raises(ManticoreError, match="a path of shape"):
        loss_surface_figure(surface(), path=way(3, 1, 2))
    with pytest.raises(ManticoreError, match="contour"):
        loss_surface_figure(surface(), kind="3d", path=way(3, 2, 2))
