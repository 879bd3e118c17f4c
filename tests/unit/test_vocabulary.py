"""Components read the same ids, or are moved onto a common vocabulary that was chosen."""

from pathlib import Path

import pytest
import torch
from families import tiny
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from vocabularies import byte_pairs, words

from manticore_kit import ManticoreForCausalLM, Recipe, build
from manticore_kit.components import load
from manticore_kit.components.vocabulary import choose_tokenizer, same_vocabulary, transplant
from manticore_kit.errors import ManticoreError

PROSE = ["the cat sat on the mat and the dog sat on the log", "a cat and a dog and a log"] * 9
CODE = ["def cat(dog): return dog + 1", "for cat in range(len(dog)): return cat"] * 9


def saved(folder: Path, family: str, tokenizer, **options) -> Path:
    """A model folder with a random model whose vocabulary is the tokenizer's."""
    model = tiny(family, **options)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def prose(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("prose") / "prose", "gpt2", byte_pairs(PROSE, 270))


@pytest.fixture(scope="module")
def code(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("code") / "code", "llama", byte_pairs(CODE, 280), width=64, seed=1)


def logits(model, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(ids, use_cache=False).logits


# ------------------------------------------------------------------------------------------------------ same or not


def test_vocabularies_are_compared_by_ids_and_by_where_they_cut():
    one, other = byte_pairs(PROSE, 270), byte_pairs(CODE, 280)
    assert same_vocabulary(one, byte_pairs(PROSE, 270))
    assert not same_vocabulary(one, other)
    # The same tokens, another rule for cutting.
    lowered = byte_pairs(PROSE, 270)
    lowered.backend_tokenizer.normalizer = normalizers.Lowercase()
    assert one.get_vocab() == lowered.get_vocab()
    assert not same_vocabulary(one, lowered)


def test_a_choice_is_needed_only_where_tokenizers_differ():
    one, same, other = byte_pairs(PROSE, 270), byte_pairs(PROSE, 270), byte_pairs(CODE, 280)
    assert choose_tokenizer(["a", "b"], [None, None], None) is None
    assert choose_tokenizer(["a", "b", "c"], [None, one, same], None) is one
    assert choose_tokenizer(["a", "b"], [one, other], other) is other
    with pytest.raises(ManticoreError, match=r"b and d use different tok.* \(270 and 280 tokens\).* `tokenizer: b`"):
        choose_tokenizer(["a", "b", "c", "d"], [None, one, same, other], None)


def test_different_tokenizers_with_no_choice_are_refused(prose, code):
    recipe = {"components": [{"model": str(prose)}, {"model": str(code)}], "projector": {"init": "identity"}}
    with pytest.raises(ManticoreError, match=r"different tokenizers \(270 and 280 tokens\).*Choose one for the hybrid"):
        build(Recipe.parse(recipe))
    with pytest.raises(ManticoreError, match="different tokenizers"):
        ManticoreForCausalLM.from_components([prose, code])


# ------------------------------------------------------------------------------------------------------ transplanting


@pytest.mark.parametrize("family", ["gpt2", "llama", "mamba", "gpt_neox", "phi"])
@pytest.mark.parametrize("rows", [None, 320])
def test_rows_are_copied_or_averaged_over_pieces(family, rows):
    own, target = byte_pairs(PROSE, 270), byte_pairs(CODE, 280, end="</s>")
    model = tiny(family)
    model.resize_token_embeddings(len(own), mean_resizing=False)
    head = model.get_output_embeddings()
    before = [model.get_input_embeddings().weight.clone(), head.weight.clone()]
    bias = None if head.bias is None else head.bias.detach().normal_().clone()
    tied = head.weight is model.get_input_embeddings().weight
    transplant(model, own, target, rows)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    assert (head.weight is embedding.weight) == tied
    assert len(embedding.weight) == len(head.weight) == model.config.vocab_size == (rows or 280)
    vocabulary, copied = own.get_vocab(), 0
    for token, i in target.get_vocab().items():
        if token == "</s>":
            pieces = [own.eos_token_id]
        elif token in vocabulary:
            pieces, copied = [vocabulary[token]], copied + 1
        else:
            pieces = own(target.decode([i]))["input_ids"]
            assert len(pieces) > 1
        for old, new in zip(before, (embedding.weight, head.weight), strict=True):
            assert torch.allclose(new[i], old[pieces].mean(0), atol=1e-6), token
        if bias is not None:
            assert torch.allclose(head.bias[i], bias[pieces].mean(), atol=1e-6)
    assert 256 < copied < 279, "some tokens are shared and some are not"
    for i in range(280, rows or 0):
        assert torch.allclose(embedding.weight[i], before[0].mean(0), atol=1e-6)


def test_special_tokens_are_renamed_in_the_configuration(tmp_path):
    own, target = byte_pairs(PROSE, 270), words(["?", "cat", "dog"])
    model = tiny("llama")
    model.resize_token_embeddings(300, mean_resizing=False)
    model.config.pad_token_id = model.config.eos_token_id = 299
    transplant(model, own, target)
    assert (model.config.eos_token_id, model.config.pad_token_id) == (None, 0)
    model.save_pretrained(tmp_path)
    assert len(AutoModelForCausalLM.from_pretrained(tmp_path).model.embed_tokens.weight) == 3


def test_tokens_that_say_the_same_are_the_same():
    """Word-start marks differ from tokenizer to tokenizer; the text does not."""
    own = byte_pairs(PROSE, 277)
    pieces = {"<unk>": 0, "▁cat": 1, "▁dog": 2, "▁": 3, "og": 4}
    tokenizer = Tokenizer(models.WordLevel(pieces, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    target = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")
    model = tiny("gpt2")
    model.resize_token_embeddings(300, mean_resizing=False)
    before = model.transformer.wte.weight.clone()
    transplant(model, own, target)
    vocabulary = own.get_vocab()
    assert torch.equal(model.transformer.wte.weight[1], before[vocabulary["Ġcat"]])
    assert torch.equal(model.transformer.wte.weight[2], before[vocabulary["Ġdog"]])
    assert torch.equal(model.transformer.wte.weight[3], before[vocabulary["Ġ"]])


def test_a_tokenizer_that_puts_a_space_first_still_finds_its_tokens():
    """LLaMA's tokenizer reads " cat" as two spaces and a cat; the token for " cat" is there all the same."""
    tokenizer = Tokenizer(models.BPE({"<unk>": 0, "▁": 1, "c": 2, "▁c": 3}, [("▁", "c")], unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(content=" ", left=1, right=0)]
    )
    own = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")
    assert own(" c")["input_ids"] == [1, 3]
    target = byte_pairs([" c c c"], 258)
    model = tiny("gpt2")
    model.resize_token_embeddings(4, mean_resizing=False)
    before = model.transformer.wte.weight.clone()
    transplant(model, own, target)
    assert torch.equal(model.transformer.wte.weight[target.get_vocab()["Ġc"]], before[3])


def test_bytes_that_are_no_character_get_the_mean():
    own, target = words(["?", "cat", "dog"]), byte_pairs(PROSE, 277)
    model = tiny("gpt2")
    model.resize_token_embeddings(3, mean_resizing=False)
    before = model.transformer.wte.weight.clone()
    transplant(model, own, target)
    weight = model.transformer.wte.weight
    assert torch.isfinite(weight).all()
    half = target.get_vocab()["Ã"]
    assert torch.allclose(weight[half], before.mean(0))
    assert torch.equal(weight[target.get_vocab()["Ġcat"]], before[1])


def test_a_table_smaller_than_its_tokenizer():
    own, target = byte_pairs(PROSE, 270), byte_pairs(CODE, 280)
    model = tiny("gpt2")
    model.resize_token_embeddings(260, mean_resizing=False)
    transplant(model, own, target)
    assert torch.isfinite(model.transformer.wte.weight).all()


# --------------------------------------------------------------------------------------------------------- in a hybrid


def test_a_hybrid_on_a_chosen_tokenizer(prose, code, tmp_path):
    """In its corner a transplanted component gives its own logits, up to where the tokens stand."""
    recipe = Recipe.parse(
        {
            "components": [{"model": str(prose)}, {"model": str(code)}],
            "projector": {"init": "identity"},
            "tokenizer": str(prose),
            "mixture": [[0, 1], [0, 1]],
        }
    )
    hybrid = build(recipe)
    assert same_vocabulary(hybrid.tokenizer, AutoTokenizer.from_pretrained(prose))
    own, target = AutoTokenizer.from_pretrained(code), AutoTokenizer.from_pretrained(prose)
    shared = sorted(own.get_vocab().keys() & target.get_vocab().keys())
    assert len(shared) > 256
    ours = torch.tensor([target.get_vocab()[token] for token in shared])
    theirs = torch.tensor([own.get_vocab()[token] for token in shared])
    chosen = torch.randint(len(shared), (2, 9), generator=torch.Generator().manual_seed(0))
    moved, original = logits(hybrid, ours[chosen]), logits(load(code).component.model, theirs[chosen])
    assert torch.allclose(moved[..., ours], original[..., theirs], atol=1e-6)
    hybrid.set_mixture([[1, 0], [1, 0]])
    assert torch.equal(logits(hybrid, ours[chosen]), logits(load(prose).component.model, ours[chosen]))
    hybrid.save_pretrained(tmp_path / "hybrid")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "hybrid")
    hybrid.set_mixture([[0.5, 0.5], [0.5, 0.5]])
    again.set_mixture([[0.5, 0.5], [0.5, 0.5]])
    assert torch.equal(logits(again, ours[chosen]), logits(hybrid, ours[chosen]))
    assert again.recipe.tokenizer == str(prose)


def test_a_tokenizer_that_is_no_model_is_refused(prose, code):
    recipe = {"components": [{"model": str(prose)}, {"model": str(code)}], "tokenizer": "./no-such-folder"}
    with pytest.raises(ManticoreError, match=r"Model folder './no-such-folder' does not exist"):
        build(Recipe.parse(recipe))


def test_a_model_without_a_tokenizer_must_have_rows_enough(prose):
    with pytest.raises(ManticoreError, match=r"'gpt2' has rows for 97 tokens .* tokenizer has 270"):
        ManticoreForCausalLM.from_components([prose, tiny("gpt2")])
