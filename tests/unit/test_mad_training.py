"""Models learn MAD's rows through `fit`: aligned targets, accuracies, early end, compression, searched mixtures."""

import numpy as np
import pytest
import torch
from families import tiny
from toys import hybrid_of

from manticore_kit.components import check, load
from manticore_kit.errors import ManticoreError
from manticore_kit.mad.compression import CompressionAutoencoder
from manticore_kit.mad.data import MadData
from manticore_kit.mad.plan import MadPlan
from manticore_kit.mad.proxies import proxy_config
from manticore_kit.mad.trials import MadTrial, best_runs, model_of, perform, trials_of
from manticore_kit.recipe import Recipe
from manticore_kit.tasks import mad
from manticore_kit.training.fit import fit
from manticore_kit.training.settings import TrainingSettings

SMALL = {"num_examples": 64, "judged_examples": 32}


def settings(**changes) -> TrainingSettings:
    base = {"steps": 4, "batch_size": 8, "evaluate_every": 2, "checkpoint_every": 2, "weight_decay": 0.0}
    return TrainingSettings.parse({**base, **changes}).at_rate(1e-3, 0.1)


def searched(**changes) -> TrainingSettings:
    return settings(search={"method": "darts"}, **changes)


class Oracle(torch.nn.Module):
    """Scores of the right answers, as a causal language model would give them."""

    def __init__(self, rows: mad.Rows, vocabulary: int, wrong: int = 0):
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(()))
        targets = torch.from_numpy(rows.targets).clamp(min=0)
        self.answers = {tuple(r): t for r, t in zip(rows.inputs.tolist(), targets, strict=True)}
        self.vocabulary, self.wrong = vocabulary, wrong

    def forward(self, input_ids):
        found = torch.stack([self.answers[tuple(row)] for row in input_ids[:, :-1].tolist()])
        logits = torch.nn.functional.one_hot((found + self.wrong) % self.vocabulary, self.vocabulary).float() * 50
        extra = logits[:, :1]
        return type("Out", (), {"logits": torch.cat([logits, extra], dim=1)})


@pytest.mark.parametrize("task", mad.TASKS)
def test_targets_stay_with_their_positions(task):
    data = MadData.of(task, **SMALL)
    vocabulary = mad.settings_of(task).vocab_size
    for rows, measure in ((data.validation, data.measure), (data.test, lambda m: data.judge(m).scores)):
        if rows is data.test:
            both = Oracle(rows, vocabulary)
            both.answers |= Oracle(data.validation, vocabulary).answers
            assert measure(both)["accuracy"] == 1.0
        else:
            assert measure(Oracle(rows, vocabulary))["accuracy"] == 1.0
            assert measure(Oracle(rows, vocabulary, wrong=1))["accuracy"] == 0.0


@pytest.mark.parametrize("task", ["in-context-recall", "selective-copying"])
def test_the_models_own_loss_is_the_loss_on_the_targets(task):
    data = MadData.of(task, **SMALL)
    model = tiny("llama")
    examples = data.training_examples(8, seed=0)
    batch = [examples[i] for i in range(8)]
    ids, labels = (torch.stack([row[name] for row in batch]) for name in ("input_ids", "labels"))
    order = examples.order[:8].numpy()
    with torch.no_grad():
        own = model(ids, labels=labels).loss
        logits = model(torch.from_numpy(data.train.inputs[order])).logits
    targets = torch.from_numpy(data.train.targets[order])
    expected = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, ignore_index=mad.IGNORED)
    torch.testing.assert_close(own, expected)


def test_every_row_comes_once_before_any_comes_again_in_the_order_of_the_seed():
    data = MadData.of("compression", **SMALL)
    order = data.training_examples(64 * 2 + 5, seed=3).order
    assert sorted(order[:64].tolist()) == list(range(64)) == sorted(order[64:128].tolist())
    assert order.tolist() == data.training_examples(64 * 2 + 5, seed=3).order.tolist()
    assert order.tolist() != data.training_examples(64 * 2 + 5, seed=4).order.tolist()


def test_training_ends_where_the_accuracy_is_reached_also_when_it_was_killed_before(tmp_path):
    data = MadData.of("memorization", vocab_size=12, seq_len=8, **SMALL)

    def trained(folder, **arguments):
        model = tiny("llama", depth=2)
        quick = settings(steps=200, stop_at_accuracy=0.9).at_rate(1e-2)
        return fit(model, data, quick, folder, keep_model=False, **arguments)

    whole = trained(tmp_path / "whole")
    assert whole.result["steps"] < 200
    last = [event for event in whole.events if event["event"] == "held-out"][-1]
    assert last["accuracy"] >= 0.9
    assert last["step"] == whole.result["steps"]
    assert whole.result["processor_seconds"] > 0
    asked = iter(range(10_000))
    with pytest.raises(ManticoreError, match="Stopped after step"):
        trained(tmp_path / "cut", stop=lambda: next(asked) >= 2)
    resumed = trained(tmp_path / "cut")
    assert (resumed.folder / "metrics.jsonl").read_bytes() == (whole.folder / "metrics.jsonl").read_bytes()
    assert resumed.result["scores"] == whole.result["scores"]


def test_result_has_accuracies_on_test_rows_and_losses_of_each(tmp_path):
    data = MadData.of("in-context-recall", **SMALL)
    run = fit(tiny("llama"), data, settings(), tmp_path / "run", keep_model=False)
    assert set(run.result["scores"]) == {"accuracy", "macro_accuracy", "validation_accuracy"}
    assert run.losses["test"].shape == (32,)
    assert run.result["loss"] == pytest.approx(run.losses["test"].mean())


# ------------------------------------------------------------------------------------------------------ compression


def test_autoencoder_reads_the_last_state_alone():
    coder = CompressionAutoencoder(tiny("llama", depth=2), 16).eval()
    ids = torch.randint(0, 16, (2, 9))
    code = coder.encode(ids[:, :-1])
    with torch.no_grad():
        logits = coder(ids).logits
    assert logits.shape == (2, 8, 16)
    changed = ids.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 16  # the added token, which nothing reads
    with torch.no_grad():
        assert torch.equal(coder(changed).logits, logits)
    assert code.shape == (2, 32)


@pytest.mark.parametrize("ends", ["own", "shared"])
def test_one_hot_hybrid_encodes_as_its_component(ends):
    models = [tiny("gpt_neo", depth=2), tiny("mamba", depth=2, seed=1)]
    hybrid = hybrid_of(ends=ends)
    hybrid = type(hybrid).from_components(models, ends=ends)
    ids = torch.randint(0, 97, (2, 6), generator=torch.Generator().manual_seed(0))
    for k, model in enumerate(models):
        hybrid.set_mixture([[float(j == k) for j in range(2)]] * 2)
        component = check(model)
        start = component.start(ids)
        expected = component.normed(component.run(start, start.hidden, 0, 2))
        with torch.no_grad():
            assert torch.equal(hybrid.encode(ids), expected)


def test_hybrid_autoencoder_trains_its_mixture_and_has_no_heads(tmp_path):
    coder = CompressionAutoencoder(hybrid_of("gpt_neo", "mamba"), 16)
    assert not any("lm_head" in name for name, _ in coder.named_parameters())
    data = MadData.of("compression", **SMALL)
    run = fit(coder, data, searched(), tmp_path / "run", keep_model=False)
    moved = np.abs(np.array(run.mixture) - 0.5)
    assert moved.max() > 0.01
    assert run.recipe.components[0].model == "gpt_neo"


@pytest.mark.parametrize("updates", ["simultaneous", "alternating"])
def test_bilevel_search_takes_its_steps_on_validation_rows(tmp_path, updates):
    data = MadData.of("compression", **SMALL)
    search = {"method": "gaea", "level": "bilevel", "updates": updates}
    coder = CompressionAutoencoder(hybrid_of("gpt_neo", "mamba"), 16)
    run = fit(coder, data, settings(search=search), tmp_path / "run", keep_model=False)
    assert np.abs(np.array(run.mixture) - 0.5).max() > 1e-4


# ----------------------------------------------------------------------------------------------------------- trials


PAIR = Recipe.parse({"components": [{"model": "tiny-gptneo"}, {"model": "tiny-mamba"}], "blocks": 2})


def small_plan(**changes) -> MadPlan:
    return MadPlan.preset("smoke", **{"tasks": ["compression"], **changes})


def test_proxies_are_of_the_recipes_families_at_the_tasks_vocabulary(tmp_path):
    plan = small_plan(tasks=["in-context-recall", "compression"])
    for trial in trials_of("hybrid", PAIR, plan, tmp_path, searched=True).values():
        model = model_of(trial)
        hybrid = getattr(model, "encoder", model)
        assert [c["config"]["model_type"] for c in hybrid.config.components] == ["gpt_neo", "mamba"]
        assert hybrid.config.num_blocks == 2
        assert hybrid.config.vocab_size == 16
        assert [len(c["stack"]["returns"]) for c in hybrid.config.components] == [2, 2]


@pytest.mark.parametrize("family", ["gpt_neo", "gpt_neox", "gpt2", "llama", "opt", "mamba", "mamba2", "falcon_mamba"])
def test_a_family_has_a_proxy_of_mads_size(family):
    settings = proxy_config(family, vocab_size=16, length=32, width=64, layers=2)
    component = load(family, config=settings).component
    assert (component.stack.depth, component.width, component.vocab_size) == (2, 64, 16)
    assert component.stack.tail, "compression needs its final state"


def test_weights_of_a_trial_are_those_of_its_seed(tmp_path):
    one, two = trials_of("hybrid", PAIR, small_plan(seeds=[0, 1]), tmp_path, searched=True).values()
    first, again, other = (model_of(trial).encoder.component_0.transformer.wte.weight for trial in (one, one, two))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_architectures_and_components_with_a_config_take_part(tmp_path):
    recipe = Recipe.parse({"components": [{"model": "mad", "config": {"mixer": "mamba", "hidden_size": 32}}]})
    (trial,) = trials_of("Mamba", recipe, small_plan(tasks=["memorization"]), tmp_path, searched=False).values()
    model = model_of(trial)
    assert model.config.vocab_size == 256
    assert model.config.hidden_size == 32


def test_trial_is_performed_once(tmp_path):
    (trial,) = trials_of("hybrid", PAIR, small_plan(), tmp_path, searched=True).values()
    run = perform(trial)
    before = (run.folder / "result.json").stat().st_mtime_ns
    again = perform(trial)
    assert again.result == run.result
    assert (run.folder / "result.json").stat().st_mtime_ns == before


def test_best_setting_is_that_of_the_best_mean_validation_accuracy():
    class Fake:
        def __init__(self, accuracy):
            self.result = {"scores": {"validation_accuracy": accuracy}}

    runs = {
        ("a", "t", 1e-3, 0.0, 0): Fake(0.9),
        ("a", "t", 1e-3, 0.0, 1): Fake(0.1),
        ("a", "t", 1e-4, 0.0, 0): Fake(0.6),
        ("a", "t", 1e-4, 0.0, 1): Fake(0.6),
    }
    assert best_runs(runs)["a", "t"] == {0: runs["a", "t", 1e-4, 0.0, 0], 1: runs["a", "t", 1e-4, 0.0, 1]}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tasks": ["in-context-recal"]}, "in-context-recall"),
        ({"tasks": []}, "at least 1"),
        ({"stepz": 3}, "did you mean 'steps'"),
        ({"learning_rates": []}, "at least 1"),
    ],
)
def test_mistakes_in_a_plan_are_named(given, message):
    with pytest.raises(ManticoreError, match=message):
        MadPlan.parse(given)
    with pytest.raises(ManticoreError, match="no preset 'smok'"):
        MadPlan.preset("smok")


def test_model_without_a_plain_head_cannot_encode():
    component = check(tiny("llama"))
    bare = type(component)(component.model, type(component.stack)(component.stack.path, component.stack.returns))
    with pytest.raises(ManticoreError, match="cannot be split into a norm and an output matrix"):
        bare.normed(torch.zeros(1, 1, 32))


def test_trial_is_picklable(tmp_path):
    import pickle

    (trial,) = trials_of("hybrid", PAIR, small_plan(), tmp_path, searched=True).values()
    assert isinstance(pickle.loads(pickle.dumps(trial)), MadTrial)
