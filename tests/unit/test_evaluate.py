"""Losses per example are the library's own loss, window by window."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from manticore_kit.tasks.language.evaluate import per_example_losses


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=32, n_embd=16, n_layer=2, n_head=2))


@pytest.fixture(scope="module")
def windows():
    return torch.randint(50, (7, 20), generator=torch.Generator().manual_seed(0))


def test_each_loss_is_the_models_own_on_that_window_alone(model, windows):
    model.eval()
    own = [model(input_ids=window[None], labels=window[None]).loss.item() for window in windows]
    losses = per_example_losses(model, windows, batch_size=3)
    assert losses.dtype == torch.float32
    assert losses.tolist() == pytest.approx(own, abs=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_evaluates_without_dropout_and_gives_the_mode_back(model, windows, training):
    model.train(training)
    assert torch.equal(per_example_losses(model, windows), per_example_losses(model, windows))
    assert model.training is training


def test_half_precision_logits_are_summed_in_float32(model, windows):
    half = per_example_losses(GPT2LMHeadModel(model.config).bfloat16(), windows)
    assert half.dtype == torch.float32


def test_windows_without_a_prediction_are_refused(model):
    with pytest.raises(ValueError, match="shape"):
        per_example_losses(model, torch.zeros(4, 1, dtype=torch.long))
