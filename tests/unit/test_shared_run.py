"""Runs that share work between mixtures give what separate forwards give."""

import pytest
import torch
from families import tiny
from test_families import FAMILIES

from manticore_kit import ManticoreForCausalLM
from manticore_kit.analysis import LiveLosses
from manticore_kit.errors import ManticoreError
from manticore_kit.hybrid.shared_run import SharedRun
from manticore_kit.tasks.language import per_example_losses

MIXTURES = [
    [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]],
    [[0.5, 0.5], [0.5, 0.5], [0.2, 0.8]],
    [[0.5, 0.5], [1, 0], [0.2, 0.8]],
    [[0, 1], [1, 0], [0.2, 0.8]],
    [[0, 1], [0, 1], [0, 1]],
    [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]],
]


def make_hybrid(*models, ends="own"):
    hybrid = ManticoreForCausalLM.from_components(models, blocks=3, ends=ends, projector={"init": "random"})
    ids = torch.randint(97, (2, 12), generator=torch.Generator().manual_seed(0))
    return hybrid, ids


def separate(hybrid, ids):
    with torch.no_grad():
        return hybrid(ids, use_cache=False).logits


@pytest.mark.parametrize("ends", ["own", "shared"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_gives_the_logits_of_separate_forwards_at_every_mixture(family, ends):
    hybrid, ids = make_hybrid(tiny(family), tiny("gpt2", width=64, seed=1), ends=ends)
    run = SharedRun(hybrid, ids)
    for rows in MIXTURES:
        hybrid.set_mixture(rows)
        assert torch.equal(run.logits(), separate(hybrid, ids))


def test_only_what_the_new_mixture_changes_is_run_again(monkeypatch):
    hybrid, ids = make_hybrid(tiny("gpt2"), tiny("mamba"))
    ran = []
    block = ManticoreForCausalLM._block
    monkeypatch.setattr(ManticoreForCausalLM, "_block", lambda *a: ran.append((a[1], *a[4])) or block(*a))
    run = SharedRun(hybrid, ids)
    ran_for = []
    for rows in MIXTURES:
        ran.clear()
        hybrid.set_mixture(rows)
        run.logits()
        ran_for.append(list(ran))
    assert ran_for[0] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert ran_for[1] == [(2, 0), (2, 1)], "the last row changed"
    assert ran_for[2] == [(1, 0), (2, 0), (2, 1)], "the second row became one-hot"
    assert ran_for[3] == [(1, 0), (2, 0), (2, 1)], "the first block never runs again"


@pytest.mark.parametrize("write", [lambda w: w.mul_(2), lambda w: w.data.mul_(2), lambda w: w.numpy().__imul__(2)])
def test_live_losses_notice_weights_that_changed(write):
    hybrid, ids = make_hybrid(tiny("gpt2"), tiny("mamba"))
    live = LiveLosses(hybrid, ids)
    before = live()
    with torch.no_grad():
        write(hybrid.component_0.transformer.h[0].mlp.c_fc.weight.detach())
    after = live()
    assert not torch.equal(after, before)
    assert torch.equal(after, per_example_losses(hybrid, ids))


def test_ids_that_a_component_does_not_know_are_refused():
    hybrid, ids = make_hybrid(tiny("gpt2"), tiny("mamba"))
    with pytest.raises(ManticoreError, match="knows the ids 0 to 96"):
        SharedRun(hybrid, ids + 90).logits()


def test_live_losses_are_those_of_a_separate_evaluation():
    hybrid, ids = make_hybrid(tiny("gpt2"), tiny("mamba"))
    live = LiveLosses(hybrid.train(), ids, batch_size=1)
    for rows in MIXTURES:
        hybrid.set_mixture(rows)
        assert torch.equal(live(), per_example_losses(hybrid, ids, batch_size=1))
    assert hybrid.training
