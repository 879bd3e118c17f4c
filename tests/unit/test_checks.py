"""A model becomes a component only if replaying it block by block gives the model's own logits."""

import copy

import pytest
import torch
from families import tiny
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Model, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from manticore_kit.components import check
from manticore_kit.errors import ManticoreError

IDS = torch.randint(0, 97, (2, 9), generator=torch.Generator().manual_seed(0))


class Plain(PreTrainedModel):
    """A causal model of linear layers and running means, to be bent in the tests below."""

    config_class = GPT2Config

    def __init__(self, config):
        super().__init__(config)
        width = config.hidden_size
        self.embed = nn.Embedding(config.vocab_size, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(config.num_hidden_layers))
        self.head = nn.Linear(width, config.vocab_size)
        self.post_init()

    def mix(self, hidden):
        return hidden.cumsum(1) / 9

    def between(self, hidden, index):
        return hidden

    def forward(self, input_ids, attention_mask=None, use_cache=None):
        hidden = self.mix(self.embed(input_ids))
        for index, layer in enumerate(self.layers):
            hidden = self.between(layer(hidden), index)
        return CausalLMOutput(logits=self.head(hidden))


def small(cls):
    torch.manual_seed(0)
    return cls(GPT2Config(n_embd=8, n_layer=3, n_head=2, vocab_size=97)).eval()


def test_an_unknown_architecture_is_a_component_like_any_other():
    component = check(small(Plain), "plain")
    assert component.stack.depth == 3
    with torch.no_grad():
        assert torch.equal(component.compose(IDS), component.model(IDS).logits)


def test_work_between_the_layers_is_found():
    class Between(Plain):
        def between(self, hidden, index):
            return hidden * 2

    with pytest.raises(ManticoreError, match=r"mine \(Between\) cannot be a component: .* plain logits differ .* by "):
        check(small(Between), "mine")


def test_work_after_the_last_layer_is_the_heads():
    class After(Plain):
        def between(self, hidden, index):
            return hidden * 2 if index == 2 else hidden

    component = check(small(After))
    with torch.no_grad():
        assert torch.equal(component.compose(IDS), component.model(IDS).logits)


def test_layers_that_are_passed_over_are_found():
    class Skipping(Plain):
        def forward(self, input_ids, attention_mask=None, use_cache=None):
            return CausalLMOutput(logits=self.head(self.layers[2](self.layers[0](self.embed(input_ids)))))

    with pytest.raises(ManticoreError, match=r"Skipping: .* does not call layers \[1\] of 'layers'"):
        check(small(Skipping))


def test_models_that_look_ahead_are_found():
    class LookingAhead(Plain):
        def mix(self, hidden):
            return hidden.mean(1, keepdim=True) + hidden

    with pytest.raises(ManticoreError, match=r"LookingAhead\) is not a causal language model: changing the last token"):
        check(small(LookingAhead))


def test_models_without_layers_are_found():
    class Flat(Plain):
        def __init__(self, config):
            super().__init__(config)
            del self.layers

    with pytest.raises(ManticoreError, match=r"Flat \(gpt2\) has no list of decoder layers"):
        check(small(Flat))


def test_logits_that_are_not_numbers_are_found():
    class Overflowing(Plain):
        def mix(self, hidden):
            return hidden * float("inf")

    with pytest.raises(ManticoreError, match="Overflowing"):
        check(small(Overflowing))


def test_a_failing_forward_is_told():
    class WithoutMasks(Plain):
        def forward(self, input_ids, attention_mask=None, use_cache=None):
            if attention_mask is not None:
                raise NotImplementedError("no masks, please")
            return super().forward(input_ids)

    with pytest.raises(ManticoreError, match="its left-padded forward failed with NotImplementedError: no masks"):
        check(small(WithoutMasks))


def test_checking_leaves_the_model_as_it_was():
    model = tiny("gpt2").train()
    before, modules = copy.deepcopy(model.state_dict()), [type(m) for m in model.modules()]
    check(model)
    assert model.training
    assert [type(m) for m in model.modules()] == modules
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())
    assert not any(p.grad is not None for p in model.parameters())


def test_random_skipping_of_layers_is_switched_off():
    model = tiny("opt")
    model.config.layerdrop = model.model.decoder.layerdrop = 0.5
    check(model)
    assert model.config.layerdrop == model.model.decoder.layerdrop == 0


@pytest.mark.parametrize(("family", "caches"), [("gpt2", True), ("mamba", True), ("jamba", True), ("rwkv", False)])
def test_caches_are_used_where_they_are_right(family, caches):
    assert check(tiny(family)).stack.caches is caches


def test_a_model_without_a_head_is_told():
    torch.manual_seed(0)
    with pytest.raises(ManticoreError, match="GPT2Model"):
        check(GPT2Model(GPT2Config(n_embd=8, n_layer=2, n_head=2, vocab_size=97)))
    check(GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=2, n_head=2, vocab_size=97)))
