"""The selective scan equals the library's loop in value and gradient, alone and inside the library's models."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config
from transformers.models.falcon_mamba import FalconMambaConfig
from transformers.models.jamba import JambaConfig
from transformers.models.mamba import MambaConfig
from transformers.models.zamba import ZambaConfig

from manticore_kit.errors import ManticoreError
from manticore_kit.kernels import install_for, kernels_off, library_scan, selective_scan, status, use

WIDTH = {"vocab_size": 61, "hidden_size": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
ATTENTION = {"num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 48}
CONFIGS = {
    "mamba": MambaConfig(**WIDTH, num_hidden_layers=2, state_size=4),
    "falcon_mamba": FalconMambaConfig(**WIDTH, num_hidden_layers=2, state_size=4),
    "jamba": JambaConfig(
        **WIDTH, **ATTENTION, num_hidden_layers=4, attn_layer_period=2, attn_layer_offset=1,
        num_experts=2, expert_layer_period=2, expert_layer_offset=1, mamba_d_state=4, use_mamba_kernels=True,
    ),
    "zamba": ZambaConfig(
        **WIDTH, **ATTENTION, num_hidden_layers=5, attn_layer_period=2, attn_layer_offset=1,
        n_mamba_heads=2, mamba_d_state=4,
    ),
}  # fmt: skip


@pytest.fixture(params=["compiled", "off"], autouse=True)
def kernels(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test runs with the compiled kernels and with the loop in PyTorch."""
    with kernels_off() if request.param == "off" else nullcontext():
        yield request.param


@pytest.fixture(scope="module")
def library() -> object:
    """The library's own scan."""
    from transformers.models.mamba import modeling_mamba

    scan = modeling_mamba.mamba_selective_scan
    return getattr(scan, "library_function", scan)


@pytest.fixture(params=CONFIGS)
def model(request: pytest.FixtureRequest) -> torch.nn.Module:
    """A tiny model of each family with random weights, which calls our scan."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[request.param]).eval()
    install_for(model)
    return model


def random_inputs(batch=2, channels=3, length=5, state=4, dtype=torch.float32, seed=0) -> dict[str, Tensor]:
    """Inputs of the size and sign that a trained Mamba gives its scan, all of them requiring gradients."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    inputs = {
        "hidden_states": normal(batch, channels, length),
        "dt": normal(batch, channels, length) - 1,
        "A": -normal(channels, state).exp(),
        "B": normal(batch, state, length),
        "C": normal(batch, state, length),
        "D": normal(channels),
        "z": normal(batch, channels, length),
        "delta_bias": normal(channels),
    }
    return {name: tensor.to(dtype).requires_grad_() for name, tensor in inputs.items()}


def assert_near(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> None:
    """The largest difference is within `tolerance` of the largest value."""
    assert_all_near([ours], [theirs], tolerance)


def assert_all_near(ours: list[Tensor], theirs: list[Tensor], tolerance: float = 1e-5) -> None:
    """Every difference is within `tolerance` of the largest value of all: one sum alone may have cancelled."""
    largest = max(tensor.detach().abs().max() for tensor in theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == other.dtype
        assert mine.shape == other.shape
        assert (mine - other).detach().abs().max() <= tolerance * largest


def outputs_and_gradients(scan, inputs: dict[str, Tensor], **options: bool) -> list[Tensor]:
    result = scan(**inputs, **options)
    outputs = list(result) if isinstance(result, tuple) else [result]
    generator = torch.Generator().manual_seed(1)
    loss = sum((out.float() * torch.randn(out.shape, generator=generator)).sum() for out in outputs)
    return [*outputs, *torch.autograd.grad(loss, list(inputs.values()))]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.fixed_dictionaries(
        {
            "batch": st.integers(1, 4),
            "channels": st.integers(1, 9),
            "length": st.integers(1, 12),
            "state": st.integers(1, 9),
            "seed": st.integers(0, 2**31),
        }
    ),
    left_out=st.sets(st.sampled_from(["D", "z", "delta_bias"])),
    return_last_state=st.booleans(),
)
def test_equals_the_library_in_value_and_gradient(library, sizes, left_out, return_last_state):
    inputs = {name: tensor for name, tensor in random_inputs(**sizes).items() if name not in left_out}
    options = {"return_last_state": return_last_state, "delta_softplus": True}
    ours = outputs_and_gradients(selective_scan, inputs, **options)
    assert_all_near(ours, outputs_and_gradients(library, inputs, **options))


def test_strides_of_the_models_do_not_matter(library):
    inputs = random_inputs(length=7)
    strided = {
        name: tensor.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
        if tensor.ndim == 3
        else tensor
        for name, tensor in inputs.items()
    }
    ours = outputs_and_gradients(selective_scan, strided, delta_softplus=True)
    assert_all_near(ours, outputs_and_gradients(library, inputs, delta_softplus=True))


def test_long_sequences_with_strong_decay_stay_finite(library):
    inputs = random_inputs(length=400)
    inputs["A"] = (inputs["A"].detach() * 50).requires_grad_()
    options = {"return_last_state": True, "delta_softplus": True}
    ours = outputs_and_gradients(selective_scan, inputs, **options)
    assert all(torch.isfinite(tensor).all() for tensor in ours)
    assert_all_near(ours, outputs_and_gradients(library, inputs, **options))


def test_gradients_equal_finite_differences():
    inputs = random_inputs(dtype=torch.float64)

    def scan(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        named = dict(zip(inputs, tensors, strict=True))
        return selective_scan(**named, delta_softplus=True, return_last_state=True)

    assert torch.autograd.gradcheck(scan, tuple(inputs.values()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("left_out", [set(), {"D", "z"}])
def test_low_precision_is_computed_in_float32(library, dtype, left_out):
    # As the models call it: A, D and the bias are float32, what the projections give is of low precision.
    inputs = {
        name: tensor.detach().to(torch.float32 if name in {"A", "D", "delta_bias"} else dtype)
        for name, tensor in random_inputs(length=30).items()
        if name not in left_out
    }
    ours, our_state = selective_scan(**inputs, delta_softplus=True, return_last_state=True)
    theirs, their_state = library(**inputs, delta_softplus=True, return_last_state=True)
    assert_near(our_state, their_state)  # float32, so rounding to low precision within the loop would show
    assert our_state.dtype == torch.float32
    assert_near(ours, theirs, tolerance=2 * torch.finfo(dtype).eps)


def test_states_are_float32_where_every_input_is_of_low_precision():
    names = ("hidden_states", "dt", "A", "B", "C")
    low = {name: tensor.bfloat16() for name, tensor in random_inputs(length=30).items() if name in names}
    low["dt"] = low["dt"].abs()
    ours, state = selective_scan(**low, return_last_state=True)
    _, exact_state = selective_scan(**{name: tensor.double() for name, tensor in low.items()}, return_last_state=True)
    assert ours.dtype == torch.bfloat16
    assert state.dtype == torch.float32
    assert_near(state.double(), exact_state)


def test_float64_is_not_rounded():
    inputs = random_inputs(dtype=torch.float64, length=20)
    exact = selective_scan(**inputs, delta_softplus=True)
    rounded = selective_scan(**{name: tensor.float() for name, tensor in inputs.items()}, delta_softplus=True)
    assert exact.dtype == torch.float64
    assert 0 < (exact - rounded).abs().max() < 1e-4


def test_autocast_does_not_reach_the_recurrence(library):
    inputs = random_inputs(length=30)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = outputs_and_gradients(selective_scan, inputs, delta_softplus=True)
    assert_all_near(inside, outputs_and_gradients(library, inputs, delta_softplus=True))


def test_training_keeps_few_states_and_nothing_else_does(kernels):
    length, batch, channels, state = 256, 2, 32, 8
    inputs = random_inputs(batch=batch, channels=channels, length=length, state=state)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda t: t):
        selective_scan(**inputs, delta_softplus=True)
    states = length * batch * channels * state
    assert (max(kept) <= states / 8) == (kernels == "compiled")
    kept.clear()
    with torch.no_grad():
        selective_scan(**inputs, delta_softplus=True)
    assert not kept


def test_the_last_state_does_not_hold_the_others_in_memory():
    _, state = selective_scan(**random_inputs(length=50), delta_softplus=True, return_last_state=True)
    assert state.untyped_storage().nbytes() == state.nbytes


def test_differentiating_twice_is_refused():
    inputs = random_inputs()
    (gradient,) = torch.autograd.grad(
        selective_scan(**inputs, delta_softplus=True).sum(), inputs["dt"], create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_a_misshapen_input_is_named():
    inputs = random_inputs(length=5, state=4)
    inputs["B"] = inputs["B"].transpose(1, 2)
    with pytest.raises(ManticoreError, match=r"B has shape \(2, 5, 4\).*must be \(2, 4, 5\)"):
        selective_scan(**inputs)


def logits_and_gradients(model: torch.nn.Module, tokens: Tensor) -> list[Tensor]:
    model.zero_grad()
    out = model(input_ids=tokens, labels=tokens, use_cache=False)
    out.loss.backward()
    return [out.logits, *(weight.grad for weight in model.parameters() if weight.grad is not None)]


def test_models_give_the_same_logits_and_gradients(model, monkeypatch):
    lengths_seen = []

    def watched(hidden_states: Tensor, *args, **kwargs):
        lengths_seen.append(hidden_states.shape[-1])
        return selective_scan(hidden_states, *args, **kwargs)

    monkeypatch.setattr(use, "selective_scan", watched)
    tokens = torch.randint(3, 61, (2, 11), generator=torch.Generator().manual_seed(0))
    ours = logits_and_gradients(model, tokens)
    calls = len(lengths_seen)
    assert lengths_seen == [11] * calls
    assert calls >= 2

    with library_scan():
        theirs = logits_and_gradients(model, tokens)
    assert len(lengths_seen) == calls  # the library's scan really is the other one

    assert_near(ours[0], theirs[0])
    assert_all_near(ours[1:], theirs[1:])


def test_models_generate_the_same_with_a_cache(model):
    tokens = torch.randint(3, 61, (2, 7), generator=torch.Generator().manual_seed(0))
    options = {
        "max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False,
        "output_logits": True, "return_dict_in_generate": True,
    }  # fmt: skip
    ours = model.generate(tokens, attention_mask=torch.ones_like(tokens), **options)
    with library_scan():
        theirs = model.generate(tokens, attention_mask=torch.ones_like(tokens), **options)
    assert torch.equal(ours.sequences, theirs.sequences)
    assert_all_near(ours.logits, theirs.logits)


def test_gradient_checkpointing_gives_the_same_gradients(model):
    tokens = torch.randint(3, 61, (2, 9), generator=torch.Generator().manual_seed(0))
    model.train()
    plain = logits_and_gradients(model, tokens)
    model.activation_checkpointing_enable({"use_reentrant": False})
    for mine, other in zip(logits_and_gradients(model, tokens), plain, strict=True):
        assert torch.equal(mine, other)


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning")  # the library's
def test_a_compiled_graph_has_no_breaks():
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS["mamba"]).eval()
    install_for(model)
    tokens = torch.randint(3, 61, (1, 5))
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert_near(compiled(input_ids=tokens, use_cache=False).logits, model(input_ids=tokens, use_cache=False).logits)


def test_installing_twice_changes_nothing(model):
    code = sys.modules[type(model).__module__]
    before = code.mamba_selective_scan
    assert install_for(model) == []
    assert code.mamba_selective_scan is before


def test_models_without_a_scan_are_left_alone():
    model = AutoModelForCausalLM.from_config(GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=11))
    code = dict(vars(sys.modules[type(model).__module__]))
    assert install_for(model) == []
    assert vars(sys.modules[type(model).__module__]) == code


def test_other_devices_and_packed_sequences_are_the_librarys(library):
    dispatcher = use._Dispatcher(lambda *args, **kwargs: "library", use.OURS["mamba_selective_scan"])
    inputs = {name: tensor.detach() for name, tensor in random_inputs().items()}
    assert isinstance(dispatcher(**inputs), Tensor)
    assert dispatcher(**{name: tensor.to("meta") for name, tensor in inputs.items()}) == "library"
    assert dispatcher(**inputs, seq_idx=torch.zeros(2, 5)) == "library"
    with library_scan():
        assert dispatcher(**inputs) == "library"


def test_status_says_which_scan_is_in_use(kernels):
    sentence = {"compiled": "compiled by numba", "off": "as kernels_off() is active"}[kernels]
    assert sentence in status()
    with library_scan():
        assert "library's own" in status()
    assert sentence in status()


def test_no_advice_to_install_cuda_packages_without_a_gpu():
    code = (
        "import sys; sys.path.insert(0, 'tests'); from families import tiny; import torch\n"
        "from manticore_kit.kernels import install_for\n"
        "model = tiny('mamba'); install_for(model); model(torch.zeros(1, 3, dtype=torch.long))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ("causal_conv1d" in done.stderr) == torch.cuda.is_available()
