"""The compiled causal convolution equals the library's in value and gradient, whatever the shape."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.models.mamba import modeling_mamba

from manticore_kit.kernels import kernels_off, library_scan, use
from manticore_kit.kernels.causal_convolution import causal_convolution, fits

library = getattr(modeling_mamba.causal_conv1d_fn, "library_function", modeling_mamba.causal_conv1d_fn)


def random_inputs(batch=2, channels=5, length=20, width=4, seed=0) -> list[Tensor]:
    """A hidden state with the strides of the mixer's projection, weights and bias, in float64."""
    generator = torch.Generator().manual_seed(seed)
    projected = torch.randn(batch, length, 2 * channels, generator=generator, dtype=torch.float64)
    weight = torch.randn(channels, width, generator=generator, dtype=torch.float64)
    bias = torch.randn(channels, generator=generator, dtype=torch.float64)
    return [projected.transpose(1, 2)[:, :channels], weight, bias]


def output_and_gradients(function, inputs: list[Tensor], activation: str | None) -> list[Tensor]:
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    output = function(*inputs, activation=activation)
    direction = torch.randn(output.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [output, *torch.autograd.grad((output * direction).sum(), inputs)]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.fixed_dictionaries(
        {
            "batch": st.integers(1, 3),
            "channels": st.integers(1, 70),
            "length": st.integers(1, 50),
            "width": st.integers(1, 4),
            "seed": st.integers(0, 2**31),
        }
    ),
    with_bias=st.booleans(),
    activation=st.sampled_from([None, "silu", "swish"]),
)
def test_equals_float64_in_value_and_gradient(sizes, with_bias, activation):
    exact = random_inputs(**sizes)[: 3 if with_bias else 2]
    rounded = [tensor.float() for tensor in exact]
    assert fits(*rounded, activation=activation)
    ours = output_and_gradients(causal_convolution, rounded, activation)
    for mine, other in zip(ours, output_and_gradients(library, exact, activation), strict=True):
        assert mine.dtype == torch.float32
        assert (mine - other).abs().max() <= 1e-5 * other.abs().max().clamp(min=1)


def test_without_gradients_it_is_the_same():
    inputs = [tensor.float() for tensor in random_inputs()]
    trained = causal_convolution(inputs[0].requires_grad_(), *inputs[1:], "silu")
    with torch.no_grad():
        assert torch.equal(causal_convolution(*inputs, "silu"), trained)
    assert trained.requires_grad


def test_nan_stays_in_its_channel_and_future():
    hidden, weight, bias = (tensor.float() for tensor in random_inputs(length=40))
    hidden[1, 2, 17] = torch.nan
    bad = causal_convolution(hidden, weight, bias, "silu").isnan()
    expected = torch.zeros_like(bad)
    expected[1, 2, 17:21] = True
    assert torch.equal(bad, expected)


def test_what_does_not_fit_is_the_librarys():
    hidden, weight, bias = (tensor.float() for tensor in random_inputs())
    assert not fits(hidden.double(), weight.double(), bias.double())
    assert not fits(hidden.bfloat16(), weight, bias)
    assert not fits(hidden, torch.ones(5, 5), bias)
    assert not fits(hidden, weight, bias, "gelu")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not fits(hidden, weight, bias)


def test_the_dispatcher_passes_on_what_the_library_must_do():
    dispatcher = use._Dispatcher(lambda *args, **kwargs: kwargs, use.OURS["causal_conv1d_fn"])
    inputs = [tensor.float() for tensor in random_inputs()]
    assert isinstance(dispatcher(*inputs, activation="silu"), Tensor)
    assert dispatcher(*inputs, activation="gelu", more=1) == {"activation": "gelu", "more": 1}
    assert dispatcher(*inputs, seq_idx=torch.zeros(2, 20)).keys() == {"seq_idx"}
    for switch in (library_scan, kernels_off):
        with switch():
            assert dispatcher(*inputs, activation="silu") == {"activation": "silu"}


def test_differentiating_twice_is_refused():
    inputs = [tensor.float().requires_grad_() for tensor in random_inputs()]
    output = causal_convolution(*inputs, "silu")
    (gradient,) = torch.autograd.grad(output.sum(), inputs[1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
