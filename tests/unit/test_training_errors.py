"""What can go wrong in a training gives one clear message, and leaves the last good checkpoint as it was."""

import subprocess

import pytest
import torch
from toys import counting, hybrid_of, small_settings, taught, text_of
from transformers import TrainerCallback

from manticore_kit.errors import ManticoreError
from manticore_kit.training.data import Examples, Text
from manticore_kit.training.fit import fit
from manticore_kit.training.run import Run
from manticore_kit.training.trainer import checkpoints

WINDOWS = counting(1, 40, seed=0)
TEXT = text_of(WINDOWS)


class Poison(TrainerCallback):
    """Makes a weight NaN after a step."""

    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step == self.step:
            with torch.no_grad():
                next(model.component(0).model.parameters()).fill_(float("nan"))


def test_a_loss_that_turns_nan_leaves_the_last_good_checkpoint(tmp_path):
    settings = small_settings(search={"method": "darts"}, evaluate_every=0)
    with pytest.raises(ManticoreError, match=r"loss became nan at step 4\. The last good checkpoint is .*checkpoint-2"):
        fit(hybrid_of(), TEXT, settings, tmp_path / "run", callbacks=[Poison(3)])
    assert [path.name for path in checkpoints(tmp_path / "run" / "checkpoints")] == ["checkpoint-2"]
    healed = fit(hybrid_of(), TEXT, settings, tmp_path / "run")
    assert healed.result["loss"] == fit(hybrid_of(), TEXT, settings, tmp_path / "unbroken").result["loss"]


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    settings = small_settings(evaluate_every=0)
    with pytest.raises(ManticoreError, match=r"not finite after step 4, so no checkpoint was written.*checkpoint-2"):
        fit(hybrid_of(), TEXT, settings, tmp_path / "run", callbacks=[Poison(4)])
    assert [path.name for path in checkpoints(tmp_path / "run" / "checkpoints")] == ["checkpoint-2"]


def test_the_first_loss_may_be_nan(tmp_path):
    hybrid = hybrid_of()
    with torch.no_grad():
        next(hybrid.component(1).model.parameters()).fill_(float("nan"))
    with pytest.raises(ManticoreError, match=r"nan at step 1\. There is no earlier checkpoint"):
        fit(hybrid, TEXT, small_settings(evaluate_every=0), tmp_path / "run")


def test_an_empty_set_is_refused():
    for nothing in (torch.zeros(0, 8, dtype=torch.long), torch.zeros(8, dtype=torch.long), []):
        with pytest.raises(ManticoreError, match="training set is empty or not made of windows"):
            Examples(nothing)


def test_labels_that_are_all_ignored_are_refused():
    ids = torch.ones(4, 8, dtype=torch.long)
    only_first = torch.full((4, 8), -100)
    only_first[:, 0] = 1
    for labels in (torch.full((4, 8), -100), only_first):
        with pytest.raises(ManticoreError, match="every label is -100"):
            Examples(ids, labels)
    with pytest.raises(ManticoreError, match=r"labels have the shape \(4, 7\)"):
        Examples(ids, labels[:, 1:])


def test_a_batch_without_labels_is_named_as_such(tmp_path):
    """Not as a loss that diverged."""
    from transformers import TrainingArguments

    from manticore_kit.training.trainer import PartsTrainer

    labels = WINDOWS.clone()
    labels[4:8] = -100
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=4,
        train_sampling_strategy="sequential",
        report_to="none",
        save_strategy="no",
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    trainer = PartsTrainer(hybrid_of(), arguments, Examples(WINDOWS, labels), settings=small_settings())
    with pytest.raises(ManticoreError, match="every label is -100"):
        trainer.train()


def test_search_windows_must_fill_a_batch(tmp_path):
    text = Text({"toy": WINDOWS}, {"toy": WINDOWS[:3]}, {"toy": WINDOWS[:8]}, {"toy": 1.0})
    settings = small_settings(search={"method": "darts", "level": "bilevel"})
    with pytest.raises(ManticoreError, match=r"`batch_size` = 4 examples, and only 3 are held.*Raise `data.search`"):
        fit(hybrid_of(), text, settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_has_no_mixture_is_not_searched(tmp_path):
    settings = small_settings(search={"method": "darts"})
    hybrid = hybrid_of(mixture=[[1, 0], [0, 1]])
    for model, what in ((hybrid.discretize(), "a discretised hybrid"), (taught("gpt_neo", WINDOWS, steps=0), "GPTNeo")):
        with pytest.raises(ManticoreError, match=f"search: {what}.* has no mixture"):
            fit(model, TEXT, settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_batches_that_cannot_be_shared_out_are_refused(tmp_path):
    settings = small_settings(trainer={"gradient_accumulation_steps": 3})
    with pytest.raises(ManticoreError, match=r"batch_size=4 .* 3 accumulated batches: give a multiple of 3"):
        fit(hybrid_of(), TEXT, settings, tmp_path / "run")


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mount.returncode != 0:
        pytest.skip(f"cannot mount a small file system here: {mount.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


class Fill(TrainerCallback):
    """Leaves a few kilobytes on the disk after a step."""

    def __init__(self, folder, step: int):
        self.folder, self.step = folder, step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            with (self.folder / "ballast").open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(b"x" * 4096)
                except OSError:
                    pass
            size = (self.folder / "ballast").stat().st_size
            with (self.folder / "ballast").open("r+b") as file:
                file.truncate(size - 300_000)


def test_a_disk_that_fills_up_during_a_checkpoint_leaves_the_one_before(small_disk, tmp_path):
    settings = small_settings(search={"method": "gaea"}, evaluate_every=0)
    with pytest.raises(
        ManticoreError, match=r"after step 4 could not be written.*The last good checkpoint is .*-2\."
    ) as raised:
        fit(hybrid_of(), TEXT, settings, small_disk / "run", callbacks=[Fill(small_disk, 3)])
    assert "start the run again" in str(raised.value)
    work = small_disk / "run" / "checkpoints"
    assert [path.name for path in work.glob("checkpoint-*")] == ["checkpoint-2"]
    (small_disk / "ballast").unlink()
    went_on = fit(hybrid_of(), TEXT, settings, small_disk / "run", keep_model=False)
    unbroken = fit(hybrid_of(), TEXT, settings, tmp_path / "unbroken", keep_model=False)
    assert went_on.result["loss"] == unbroken.result["loss"]
    assert went_on.mixture == unbroken.mixture


def test_an_unfinished_run_says_how_to_go_on(tmp_path):
    with pytest.raises(ManticoreError, match=r"not finished\. Start it again with the same settings"):
        _ = Run(tmp_path).result
