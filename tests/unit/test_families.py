"""One-hot mixtures give the component, exactly, for models of many families in mixed pairs."""

import pytest
import torch
from families import all_families, tiny
from transformers import PreTrainedModel

from manticore_kit import ManticoreForCausalLM
from manticore_kit.components import check
from manticore_kit.errors import ManticoreError

pytestmark = pytest.mark.usefixtures("paths")

# Neighbours in the list are paired, so that attention meets recurrence, experts and convolutions.
FAMILIES = [
    "gpt_neo",
    "mamba",
    "gpt_neox",
    "rwkv",
    "llama",
    "mamba2",
    "gpt2",
    "recurrent_gemma",
    "opt",
    "falcon_mamba",
    "bloom",
    "jamba",
    "mistral",
    "bamba",
    "falcon",
    "granitemoehybrid",
    "gptj",
    "xlstm",
    "mpt",
    "lfm2",
    "phi",
    "olmo_hybrid",
    "gemma2",
    "mixtral",
    "qwen2",
    "stablelm",
    "gemma3_text",
    "olmo2",
    "starcoder2",
    "cohere2",
    "phi3",
    "granite",
    "qwen3_moe",
    "biogpt",
    "xglm",
    "nemotron",
    "codegen",
    "deepseek_v3",
    "persimmon",
    "smollm3",
    "gpt_bigcode",
    "olmoe",
    "glm4",
    "helium",
    "openai-gpt",
    "gpt_oss",
    "exaone4",
    "ctrl",
    "ernie4_5",
    "modernbert-decoder",
    "apertus",
    "minimax",
    "llama4_text",
    "diffllama",
    "seed_oss",
    "granitemoe",
    "nanochat",
    "arcee",
    "qwen3_next",
    "falcon_h1",
    "nemotron_h",
    "gemma",
]
PAIRS = list(zip(FAMILIES, FAMILIES[1:] + FAMILIES[:1], strict=True))


def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (2, 9) and a mask that pads the first row with three tokens on the left."""
    ids = torch.randint(3, 97, (2, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, :3], ids[0, :3] = 0, 0
    return ids, mask


def generate(model: PreTrainedModel, **options) -> torch.Tensor:
    ids, mask = tokens()
    options = {"do_sample": False, "max_new_tokens": 6, "pad_token_id": 0, "eos_token_id": None, **options}
    return model.generate(ids, attention_mask=mask, **options)


def caches(hybrid: ManticoreForCausalLM) -> bool:
    """Whether the hybrid generates with a cache, which every component must be able to."""
    return all(hybrid.component(k).stack.caches for k in range(hybrid.num_components))


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_one_hot_mixture_is_the_component(first: str, second: str):
    models = [tiny(first, width=32, depth=4), tiny(second, width=64, depth=3, seed=1)]
    ends = "shared" if len(first) % 2 else "own"
    hybrid = ManticoreForCausalLM.from_components(models, blocks=2, ends=ends)
    ids, mask = tokens()
    for k, model in enumerate(models):
        hybrid.set_mixture([[float(j == k) for j in range(2)]] * 2)
        with torch.no_grad():
            for options in ({}, {"attention_mask": mask}):
                own, ours = (m(ids, use_cache=False, **options).logits for m in (model, hybrid))
                assert torch.equal(ours, own)
        cached = [{}, {"num_beams": 3}] if caches(hybrid) else []
        for options in (*cached, {"use_cache": False}, {"use_cache": False, "num_beams": 3}):
            assert torch.equal(generate(hybrid, **options), generate(model, **options)), options


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", [family for family in all_families() if family not in FAMILIES])
def test_every_other_family_is_replayed_exactly_or_refused(family: str):
    try:
        model = tiny(family)
        ids, mask = tokens()
        with torch.no_grad():
            own = model(ids, attention_mask=mask, use_cache=False).logits
    except Exception:  # no tiny model of this family comes from the common settings, or none that runs by itself
        return
    try:
        component = check(model)
    except ManticoreError:
        return
    with torch.no_grad():
        assert torch.equal(component.compose(ids, attention_mask=mask), own)
