"""The package's own architectures as components: mixed with others and with each other, saved, discretised."""

import subprocess
import sys

import pytest
import torch
from families import tiny
from test_models_architectures import CASES, SIZES, relative
from torch import Tensor
from transformers import AutoModelForCausalLM

from manticore_kit import ManticoreForCausalLM, Recipe, build
from manticore_kit.components import load

VOCABULARY = 97  # that of the families' tiny models
ROWS = [[0.7, 0.3], [0.4, 0.6]]
# With models of transformers, and with each other.
PAIRS = [
    ("attention", "mamba"),
    ("mamba", "gpt_neo"),
    ("hyena", "llama"),
    ("multi-head hyena", "rwkv"),
    ("StripedHyena", "gpt_neox"),
    ("MambaFormer", "recurrent_gemma"),
    ("hyena", "attention"),
    ("StripedHyena", "MambaFormer"),
]


def model_of(name: str, seed: int = 0):
    if name not in CASES or (name == "mamba" and seed):
        return tiny(name, width=32, depth=3, seed=seed)
    kind, own = CASES[name]
    return load(kind, config={**SIZES, "vocab_size": VOCABULARY, **own}, seed=seed).component.model


def hybrid_of(pair: tuple[str, str], **options) -> ManticoreForCausalLM:
    models = [model_of(name, seed) for seed, name in enumerate(pair)]
    return ManticoreForCausalLM.from_components(models, **{"mixture": ROWS, **options})


def tokens(length: int = 9) -> tuple[Tensor, Tensor]:
    """Ids (2, length) and a mask that pads the first row on the left."""
    ids = torch.randint(3, VOCABULARY, (2, length), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    return ids, mask


@torch.no_grad()
def logits(model, ids: Tensor, **arguments) -> Tensor:
    return model(ids, use_cache=False, **arguments).logits


@pytest.mark.parametrize("pair", PAIRS, ids=" + ".join)
def test_one_hot_mixture_is_the_component(pair):
    models = [model_of(name, seed) for seed, name in enumerate(pair)]
    ids, mask = tokens()
    for ends in ("own", "shared"):
        hybrid = ManticoreForCausalLM.from_components(models, ends=ends)
        for k, model in enumerate(models):
            hybrid.set_mixture([[float(j == k) for j in range(2)]] * 2)
            for arguments in ({}, {"attention_mask": mask}):
                assert torch.equal(logits(hybrid, ids, **arguments), logits(model, ids, **arguments))
            options = {"attention_mask": mask, "do_sample": False, "max_new_tokens": 3, "use_cache": False}
            for more in ({}, {"num_beams": 2}):
                texts = [m.generate(ids, **options, **more, eos_token_id=None, pad_token_id=0) for m in (hybrid, model)]
                assert torch.equal(*texts)


@pytest.mark.parametrize("pair", PAIRS, ids=" + ".join)
def test_a_hybrid_is_causal_and_heeds_padding(pair):
    hybrid = hybrid_of(pair)
    ids, mask = tokens(15)
    changed = ids.clone()
    changed[:, 9] = (ids[:, 9] + 1) % VOCABULARY
    assert relative(logits(hybrid, changed)[:, :9], logits(hybrid, ids)[:, :9]) < 1e-5
    if set(pair) <= set(CASES):  # some of transformers' count positions from the padding on, or heed no mask
        assert relative(logits(hybrid, ids, attention_mask=mask)[:1, 3:], logits(hybrid, ids[:1, 3:])) < 1e-4


IN_A_NEW_PROCESS = """
import sys, torch, manticore_kit.hybrid
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1] + "/hybrid")
with torch.no_grad():
    torch.save(model(torch.load(sys.argv[1] + "/ids.pt")).logits, sys.argv[1] + "/logits.pt")
"""


@pytest.mark.parametrize("pair", [PAIRS[0], PAIRS[4], PAIRS[7]], ids=" + ".join)
@pytest.mark.parametrize("ends", ["own", "shared"])
def test_load_gives_bit_equal_logits_without_the_sources(pair, ends, tmp_path):
    hybrid, (ids, _) = hybrid_of(pair, ends=ends), tokens()
    hybrid.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(logits(again, ids), logits(hybrid, ids))
    assert again.recipe == hybrid.recipe


def test_a_process_that_knows_hybrids_knows_these_architectures(tmp_path):
    hybrid, (ids, _) = hybrid_of(("StripedHyena", "MambaFormer")), tokens()
    hybrid.save_pretrained(tmp_path / "hybrid")
    torch.save(ids, tmp_path / "ids.pt")
    subprocess.run([sys.executable, "-c", IN_A_NEW_PROCESS, str(tmp_path)], check=True, timeout=120)
    torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), logits(hybrid, ids), rtol=0, atol=1e-6)


@pytest.mark.parametrize("rows", [[[1, 0], [0, 1]], [[0, 1], [1, 0]]], ids=["first, second", "second, first"])
@pytest.mark.parametrize("pair", PAIRS, ids=" + ".join)
def test_discretised_gives_what_its_one_hot_parent_gives(pair, rows, tmp_path):
    hybrid, (ids, mask) = hybrid_of(pair, mixture=rows), tokens()
    small = hybrid.discretize()
    assert torch.equal(logits(small, ids, attention_mask=mask), logits(hybrid, ids, attention_mask=mask))
    assert small.num_parameters() < hybrid.num_parameters()
    small.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(logits(again, ids), logits(small, ids))


def test_training_a_hybrid_moves_all_of_it():
    hybrid, (ids, _) = hybrid_of(("hyena", "attention")).train(), tokens()
    hybrid(ids, labels=ids).loss.backward()
    still = [name for name, weight in hybrid.named_parameters() if weight.grad is None]
    assert still == []


RECIPE = """
components:
  - model: striped_hyena
    config: {vocab_size: 29, hidden_size: 64, num_hidden_layers: 4}
  - model: mad
    config: {vocab_size: 29, hidden_size: 32, num_hidden_layers: 2, mixer: mamba}
  - model: MambaFormerForCausalLM
    config: {vocab_size: 29, hidden_size: 64}
blocks: 2
projector: {init: identity}
mixture: [[0.5, 0.25, 0.25], [0.2, 0.3, 0.5]]
"""


def test_a_recipe_names_them(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    hybrid = build(Recipe.from_yaml(tmp_path / "recipe.yaml"))
    assert hybrid.config.component_names == ["striped_hyena", "mad", "MambaFormerForCausalLM"]
    assert [len(hybrid.component(k).layers) for k in range(3)] == [4, 2, 3]
    ids = tokens()[0] % 29
    again = build(Recipe.from_yaml(tmp_path / "recipe.yaml"))
    assert torch.equal(logits(again, ids), logits(hybrid, ids))
    assert hybrid.generate(ids, max_new_tokens=3, do_sample=False, pad_token_id=0).shape == (2, 12)
