"""Texts whose class can be read off them, rows of numbers, and a text encoder so small that a test can train it."""

import json
from pathlib import Path

import numpy as np

GOOD, BAD, PLAIN = ("fine", "lovely", "bright"), ("dull", "awful", "grey"), ("the", "film", "was", "a", "day", "and", "very")
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *GOOD, *BAD, *PLAIN)


def sentence(number: int) -> tuple[str, str]:
    """A text of 3 to 9 words and its class, which one of its words tells."""
    draw = np.random.default_rng(number)
    words = list(draw.choice(PLAIN, draw.integers(2, 9)))
    label = "good" if number % 2 else "bad"
    words.insert(int(draw.integers(len(words) + 1)), str(draw.choice(GOOD if number % 2 else BAD)))
    return " ".join(words), label


def sentences(count: int) -> tuple[list[str], list[str]]:
    """Texts and their classes."""
    texts, labels = zip(*(sentence(number) for number in range(count)), strict=True)
    return list(texts), list(labels)


def numbers(count: int, features: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of numbers of unequal scale, and a target that is linear in them, with noise of deviation 0.5."""
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(count, features)) * 10.0 ** np.arange(features) + 3
    return rows, (rows / 10.0 ** np.arange(features)) @ np.linspace(1, -1, features) + 0.5 * draw.normal(size=count)


def tiny_encoder(folder: Path, positions: int = 32) -> Path:
    """A folder as transformers writes it: two layers of 32 random, seeded numbers, and a tokenizer that knows `VOCABULARY`."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=positions,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    made = Tokenizer(models.WordLevel({word: place for place, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "bert"
    return folder
