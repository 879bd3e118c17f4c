"""The zoo's one tokenizer: byte-level byte-pair encoding, so that any text comes back as it was.

It learns from as much code as there is prose, although there is five times more code, so that both are short in tokens.
"""

from functools import cache

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from manticore_kit.tasks.language.builtin_text import documents
from manticore_kit.zoo.specimens import VOCABULARY

END_OF_TEXT = "<|endoftext|>"


@cache
def train_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of 2,048 tokens trained on the built-in training text; token 0 is the end of text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_balanced_texts(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )


def _balanced_texts() -> list[str]:
    prose = [text for _, text in documents("prose", "train")]
    code = documents("code", "train")
    step = max(1, round(sum(len(text) for _, text in code) / sum(map(len, prose))))
    return prose + [text for _, text in code[::step]]
