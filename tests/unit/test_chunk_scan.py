"""The chunked scan equals the plain recurrence in value and gradient, and the library's inside its models."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM, Mamba2Config

from manticore_kit.errors import ManticoreError
from manticore_kit.kernels import install_for, kernels_off, library_scan, use
from manticore_kit.kernels.chunk_scan import chunk_scan

LIMIT = (0.001, 6.0)


def recurrence(hidden_states, dt, A, B, C, D, dt_bias, initial_states=None) -> tuple[Tensor, Tensor]:
    """The definition, step by step."""
    dt = F.softplus(dt + dt_bias).clamp(*LIMIT)
    heads_of_a_group = dt.shape[2] // B.shape[2]
    B, C = (tensor.repeat_interleave(heads_of_a_group, 2) for tensor in (B, C))
    state = 0 if initial_states is None else initial_states
    outputs = []
    for t in range(dt.shape[1]):
        x = hidden_states[:, t]
        state = state * (dt[:, t] * A).exp()[..., None, None]
        state = state + (dt[:, t, :, None] * x)[..., None] * B[:, t, :, None]
        outputs.append((state * C[:, t, :, None]).sum(-1) + D[:, None] * x)
    return torch.stack(outputs, 1), state


def ours(inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    return chunk_scan(**inputs, chunk_size=8, dt_softplus=True, dt_limit=LIMIT, return_final_states=True)


def random_inputs(
    batch=2, length=20, groups=2, heads_of_a_group=2, width=3, state=4, seed=0, with_start=True, strength=1
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    heads = groups * heads_of_a_group

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    inputs = {
        "hidden_states": normal(batch, length, heads, width),
        "dt": normal(batch, length, heads) * strength - 1,
        "A": -normal(heads).exp() * strength,
        "B": normal(batch, length, groups, state),
        "C": normal(batch, length, groups, state),
        "D": normal(heads),
        "dt_bias": normal(heads),
    }
    return inputs | ({"initial_states": normal(batch, heads, width, state)} if with_start else {})


def outputs_and_gradients(scan, inputs: dict[str, Tensor]) -> list[Tensor]:
    inputs = {name: tensor.detach().requires_grad_() for name, tensor in inputs.items()}
    outputs = scan(inputs)
    generator = torch.Generator().manual_seed(1)
    loss = sum((out * torch.randn(out.shape, generator=generator)).sum() for out in outputs)
    return [*outputs, *torch.autograd.grad(loss, list(inputs.values()))]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.fixed_dictionaries(
        {
            "batch": st.integers(1, 3),
            "length": st.integers(1, 70),
            "groups": st.integers(1, 3),
            "heads_of_a_group": st.integers(1, 3),
            "width": st.integers(1, 9),
            "state": st.integers(1, 9),
            "seed": st.integers(0, 2**31),
            "with_start": st.booleans(),
            "strength": st.sampled_from([1, 4]),
        }
    )
)
def test_equals_the_recurrence_in_value_and_gradient(sizes):
    exact = random_inputs(**sizes)
    theirs = outputs_and_gradients(lambda inputs: recurrence(**inputs), exact)
    mine = outputs_and_gradients(ours, {name: tensor.float() for name, tensor in exact.items()})
    for output, other in zip(mine, theirs, strict=True):
        assert output.dtype == torch.float32
        assert (output - other).abs().max() <= 1e-5 * other.abs().max().clamp(min=1)


def test_long_sequences_stay_exact():
    exact = random_inputs(batch=1, length=1500, strength=5)
    theirs = recurrence(**exact)
    for output, other in zip(ours({name: tensor.float() for name, tensor in exact.items()}), theirs, strict=True):
        assert (output - other).abs().max() <= 1e-5 * other.abs().max()


def test_gradients_equal_finite_differences():
    inputs = {name: tensor.requires_grad_() for name, tensor in random_inputs(batch=1, length=7).items()}
    tensors = tuple(inputs.values())
    assert torch.autograd.gradcheck(lambda *tensors: ours(dict(zip(inputs, tensors, strict=True))), tensors)


@pytest.mark.parametrize("length", [1, 3, 20])
@pytest.mark.parametrize("with_start", [False, True])
def test_without_the_final_state_the_output_is_the_same(length, with_start):
    inputs = random_inputs(length=length, with_start=with_start)
    output = chunk_scan(**inputs, chunk_size=8, dt_softplus=True, dt_limit=LIMIT)
    assert torch.equal(output, ours(inputs)[0])
    assert output.is_contiguous()


def test_a_misshapen_input_is_named():
    inputs = random_inputs(length=20, groups=2, state=4)
    inputs["C"] = inputs["C"].transpose(1, 2)
    with pytest.raises(ManticoreError, match=r"C has shape \(2, 2, 20, 4\).*must be \(2, 20, 2, 4\)"):
        ours(inputs)


@pytest.mark.parametrize("length", [5, 23])
def test_models_give_the_same_logits_and_gradients(length):
    torch.manual_seed(0)
    config = Mamba2Config(
        vocab_size=61, hidden_size=32, num_hidden_layers=2, num_heads=8, head_dim=8, n_groups=2, state_size=8,
        chunk_size=8, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    install_for(model)
    tokens = torch.randint(3, 61, (2, length))

    def logits_and_gradients() -> list[Tensor]:
        model.zero_grad()
        out = model(input_ids=tokens, labels=tokens, use_cache=False)
        out.loss.backward()
        return [out.logits, *(weight.grad for weight in model.parameters())]

    mine = logits_and_gradients()
    for switch in (library_scan, kernels_off):
        with switch():
            theirs = logits_and_gradients()
        largest = max(tensor.abs().max() for tensor in theirs)
        for one, other in zip(mine, theirs, strict=True):
            assert (one - other).abs().max() <= 1e-5 * largest
    options = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}
    generated = model.eval().generate(tokens, attention_mask=torch.ones_like(tokens), **options)
    with library_scan():
        assert torch.equal(generated, model.generate(tokens, attention_mask=torch.ones_like(tokens), **options))


def test_either_switch_calls_the_library():
    dispatcher = use._Dispatcher(lambda *args, **kwargs: "library", use.OURS["mamba2_chunk_scan"])
    inputs = random_inputs()
    assert isinstance(dispatcher(**inputs, chunk_size=8), Tensor)
    for switch in (library_scan, kernels_off):
        with switch():
            assert dispatcher(**inputs, chunk_size=8) == "library"
