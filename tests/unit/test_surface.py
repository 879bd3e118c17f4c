"""A loss surface holds what the hybrid gives at each mixture, and leaves the hybrid as it was."""

import re
from functools import lru_cache

import numpy as np
import pytest
import torch
from families import tiny

from manticore_kit import ManticoreForCausalLM
from manticore_kit.analysis import LossSurface, loss_surface
from manticore_kit.components import check
from manticore_kit.errors import ManticoreError
from manticore_kit.figures import loss_surface_figure
from manticore_kit.tasks.language.evaluate import per_example_losses

FAMILIES = ("gpt2", "mamba", "llama", "rwkv")


@lru_cache
def models(depth, components):
    return [check(tiny(family, depth=depth, seed=k), "abcd"[k]) for k, family in enumerate(FAMILIES[:components])]


def make_hybrid(blocks=2, components=2, ends="own"):
    parts = models(max(blocks, 2), components)
    return ManticoreForCausalLM.from_components(parts, blocks=blocks, ends=ends, projector={"init": "random"})


@pytest.fixture
def text():
    return torch.randint(0, 11, (6, 9), generator=torch.Generator().manual_seed(1))


def test_each_place_of_the_grid_is_the_loss_at_its_mixture(text):
    hybrid = make_hybrid()
    surface = loss_surface(hybrid, text, points=4)
    grid, (first, second) = surface.grid(), surface.axes
    assert grid.shape == (4, 4)
    for column, x in enumerate(first.values):
        for row, y in enumerate(second.values):
            hybrid.set_mixture([[1 - x, x], [1 - y, y]])
            assert grid[row, column] == pytest.approx(per_example_losses(hybrid, text).mean().item(), abs=1e-5)
    assert first.label == "weight of b in block 1"
    assert second.label == "weight of b in block 2"


def test_losses_are_kept_for_every_example(text):
    hybrid = make_hybrid(blocks=1)
    surface = loss_surface(hybrid, text, points=3, batch_size=4)
    assert surface.kind == "curve"
    assert surface.axes[0].label == "weight of b"
    hybrid.set_mixture([[0.5, 0.5]])
    np.testing.assert_allclose(surface.losses[1], per_example_losses(hybrid, text).numpy())


def test_a_surface_says_what_it_is_in_one_line(text):
    assert re.fullmatch(
        r"LossSurface\(a, b: 4 mixtures × 6 examples, lowest mean loss \d\.\d{3}\)",
        repr(loss_surface(make_hybrid(), text, points=2)),
    )


def test_corners_are_the_components_and_the_frankenmerges(text):
    surface = loss_surface(make_hybrid(), text, points=3)
    assert [corner.label for corner in surface.corners] == ["a", "b", "a → b", "b → a"]
    assert [corner.component for corner in surface.corners] == [0, 1, None, None]
    a_to_b = surface.corners[2]
    assert surface.mixtures[a_to_b.point].tolist() == [[1, 0], [0, 1]]
    means = [surface.mean[corner.point] for corner in surface.corners[:2]]
    assert surface.best_component.label == "ab"[int(np.argmin(means))]


def test_three_components_make_a_triangle(text):
    surface = loss_surface(make_hybrid(blocks=1, components=3), text, points=5)
    assert surface.kind == "triangle"
    assert len(surface.mean) == 15
    np.testing.assert_allclose(surface.mixtures.sum(axis=2), 1)
    assert len({tuple(rows.ravel()) for rows in surface.mixtures}) == 15
    assert [corner.label for corner in surface.corners] == ["a", "b", "c"]


def test_a_slice_keeps_the_other_rows(text):
    hybrid = make_hybrid(blocks=4)
    hybrid.set_mixture([[0.5, 0.5], [0.25, 0.75], [0, 1], [1, 0]])
    surface = loss_surface(hybrid, text, points=3, blocks=(0, 3))
    assert surface.kind == "surface"
    assert surface.varied_blocks == (0, 3)
    np.testing.assert_allclose(surface.mixtures[:, 1], [[0.25, 0.75]] * 9, atol=1e-6)
    assert (surface.mixtures[:, 2] == [0, 1]).all()
    assert surface.corners == (), "with a soft row there is neither a component nor a frankenmerge"


def test_the_mixture_is_put_back(text):
    hybrid = make_hybrid()
    hybrid.set_mixture([[0.3, 0.7], [0.9, 0.1]])
    before = hybrid.mixture.logits.clone()
    seen = []
    loss_surface(hybrid, text, points=2, progress=lambda done, total: seen.append((done, total)))
    assert torch.equal(hybrid.mixture.logits, before)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_mixture_is_put_back_after_an_error(text):
    hybrid = make_hybrid()
    hybrid.set_mixture([[0.3, 0.7], [0.9, 0.1]])
    before = hybrid.train().mixture.logits.clone()

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loss_surface(hybrid, text, points=3, progress=stop)
    assert torch.equal(hybrid.mixture.logits, before)
    assert hybrid.training


@pytest.mark.parametrize("ends", ["own", "shared"])
@pytest.mark.parametrize(("blocks", "components"), [(1, 2), (1, 3), (2, 2)])
def test_sharing_what_mixtures_have_in_common_changes_no_number(blocks, components, ends, text):
    hybrid = make_hybrid(blocks, components, ends)
    surface = loss_surface(hybrid, text, points=4, batch_size=4)
    for rows, losses in zip(surface.mixtures, surface.losses, strict=True):
        hybrid.set_mixture(rows.tolist())
        assert losses.astype("float32").tolist() == per_example_losses(hybrid, text, batch_size=4).tolist()


def test_a_surface_can_be_watched_as_it_fills_in(text):
    seen = []
    surface = loss_surface(make_hybrid(), text, points=3, batch_size=2, watch=seen.append)
    known = [np.isfinite(partial.mean).sum() for partial in seen]
    assert known == [1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9], "points on the first two examples, then batches"
    assert [partial.losses.shape[1] for partial in seen] == [2] * 9 + [4, 6]
    np.testing.assert_array_equal(seen[-1].losses, surface.losses)
    assert len(seen[0].corners) == 1, "corners that are not measured yet are none"
    for partial in (seen[0], seen[4], seen[9]):
        loss_surface_figure(partial)


@pytest.mark.parametrize("given", ["some text", [[1, 2, 3]], {"input_ids": torch.ones(2, 5).long()}, torch.ones(5)])
def test_anything_but_windows_of_ids_is_refused(given):
    with pytest.raises(ManticoreError, match=r"input_ids is of .*tensor \(examples, length\)"):
        loss_surface(make_hybrid(), given)


def test_own_mixtures_replace_the_grid(text):
    rows = [[[1, 0], [0.2, 0.8]], [[0, 1], [0.2, 0.8]]]
    surface = loss_surface(make_hybrid(), text, mixtures=rows)
    assert surface.mixtures.tolist() == rows
    assert surface.kind == "curve"
    assert surface.axes[0].label == "weight of b in block 1"


def test_two_copies_of_one_model_are_told_apart(text):
    surface = loss_surface(ManticoreForCausalLM.from_components([models(2, 2)[0]] * 2), text, points=2)
    assert surface.component_names == ("a (1)", "a (2)")


@pytest.mark.parametrize(
    ("hybrid", "options", "message"),
    [
        ((3, 2), {}, r"3 blocks of 2 components cannot be drawn.*blocks=\(0,\)"),
        ((2, 3), {}, "2 blocks of 3 components"),
        ((1, 4), {}, "1 blocks of 4 components"),
        ((2, 2), {"blocks": (0, 2)}, "numbers from 0 to 1"),
        ((2, 2), {"blocks": (1, 1)}, "different numbers"),
        ((2, 2), {"points": 1}, "at least 2"),
        ((2, 2), {"mixtures": [[[0.5, 0.5]]]}, r"takes \(points, 2, 2\)"),
        ((1, 2), {"mixtures": [[[1.0, 0.0]], [[0.7, 0.7]]]}, "row 0 of mixture 1"),
        ((1, 2), {"mixtures": [[[float("nan"), 1.0]]]}, "at least 0 and sum to 1"),
        ((1, 2), {"mixtures": [[[1.0, 0.0]]], "blocks": (0,)}, "not both"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_it_starts(hybrid, options, message, text):
    model = make_hybrid(*hybrid)
    with pytest.raises(ManticoreError, match=message):
        loss_surface(model, text, progress=lambda *_: pytest.fail("started"), **options)


def test_an_incomplete_grid_is_refused():
    corners = np.array([[[1, 0], [1, 0]], [[0, 1], [1, 0]], [[0, 1], [0, 1]]], dtype=float)
    surface = LossSurface(("a", "b"), corners, np.ones((3, 4)))
    assert surface.kind == "surface"
    with pytest.raises(ManticoreError, match="no full grid of 2 × 2"):
        surface.grid()


def noise_surface(seed, advantage=0.0, points=30, examples=40):
    """Two components and mixtures of them that differ by noise, all mixtures `advantage` nats better."""
    rng = np.random.default_rng(seed)
    weights = np.linspace(0, 1, points)
    losses = rng.normal(4.0, 0.5, size=examples) + rng.normal(0, 0.2, size=(points, examples))
    losses[1:-1] -= advantage
    return LossSurface(("a", "b"), np.stack([1 - weights, weights], axis=-1)[:, None], losses)


def test_a_gain_is_free_of_the_luck_of_being_chosen():
    surfaces = [noise_surface(seed) for seed in range(60)]
    naive = [s.mean[s.best] - s.mean[s.best_component.point] for s in surfaces]
    honest = [s.gain().mean for s in surfaces]
    assert np.mean(naive) < -0.03
    assert abs(np.mean(honest)) < 0.02
    assert noise_surface(0, advantage=0.3).gain().verdict == "better"


def test_a_gain_needs_a_component_and_enough_examples():
    surface = noise_surface(0)
    inner = LossSurface(surface.component_names, surface.mixtures[1:-1], surface.losses[1:-1])
    assert inner.best_component is None
    for poor in (inner, LossSurface(surface.component_names, surface.mixtures, surface.losses[:, :3])):
        with pytest.raises(ManticoreError, match="component's corner"):
            poor.gain()


def test_intervals_against_a_point_are_those_of_the_difference():
    surface = noise_surface(1)
    low, high = surface.intervals(against=4)
    assert low[4] == high[4] == 0
    found = surface.difference(7, 4)
    assert (low[7], high[7]) == pytest.approx((found.low, found.high), abs=0.01)
    assert surface.interval(7).mean == pytest.approx(surface.mean[7])


def test_save_and_load(tmp_path):
    surface = noise_surface(2)
    loaded = LossSurface.load(surface.save(tmp_path / "surface.npz"))
    assert loaded.component_names == surface.component_names
    np.testing.assert_array_equal(loaded.mixtures, surface.mixtures)
    np.testing.assert_array_equal(loaded.losses, surface.losses)
    assert [path.name for path in tmp_path.iterdir()] == ["surface.npz"]


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = noise_surface(2).save(tmp_path / "surface.npz")
    before = path.read_bytes()

    def full(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space left"):
        noise_surface(3).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("code from the file was run",))


def test_other_files_are_refused_and_run_nothing(tmp_path):
    path = tmp_path / "other.npz"
    with pytest.raises(ManticoreError, match=r"not a saved loss surface \(FileNotFoundError"):
        LossSurface.load(path)
    path.write_text("loss")
    with pytest.raises(ManticoreError, match="not a saved loss surface"):
        LossSurface.load(path)
    np.save(path.with_suffix(".npy"), np.ones(3))
    with pytest.raises(ManticoreError, match="not a saved loss surface"):
        LossSurface.load(path.with_suffix(".npy"))
    np.savez(path, component_names=np.array([Trap()], dtype=object), mixtures=[0], losses=[0])
    with pytest.raises(ManticoreError, match="not a saved loss surface"):
        LossSurface.load(path)
    whole = noise_surface(2).save(tmp_path / "whole.npz").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ManticoreError, match="not a saved loss surface"):
        LossSurface.load(path)
