"""A BERT folder small enough for tests, as transformers' BertModel saves it, and reading files to train on.

The vocabulary has every letter and digit, so any English text can be cut; the weights are random but large enough
that attention is far from uniform.
"""

from __future__ import annotations

import json
import random
import string
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from transformers import BertConfig, BertModel

from realm.text.pieces import PieceTokenizer

HIDDEN = 32
LAYERS = 2
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = """the of in to a is was it by who when where what which built stands on river town near has people old new
bridge church tower and its name year mill lies it ##s ##ing ##er ##ed ##th 東 京""".split()
SYLLABLES = "bal cor den fel gur hol jas kel lom mir nor pel quin ras sol tam ul vex wyn zor".split()


def write_trunk(folder: Path) -> Path:
    """Write config.json, model.safetensors, tokenizer.json and vocab.txt."""
    letters = string.ascii_lowercase + string.digits
    pieces = list(
        dict.fromkeys([*SPECIAL, *letters, *(f"##{c}" for c in letters), *string.punctuation, *WORDS, *SYLLABLES])
    )
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=160, initializer_range=0.2,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    return folder


def tokenizer_of(trunk: Path) -> PieceTokenizer:
    return PieceTokenizer.from_folder(trunk)


def write_lines(path: Path, records: list[dict[str, Any]]) -> Path:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def example(number: int, title: str, context: str, question: str, answer: str) -> dict[str, Any]:
    """A record of a reading file; the answer stands where it first occurs."""
    answers = [{"text": answer, "answer_start": context.index(answer)}]
    return {"id": f"{title} {number}", "title": title, "context": context, "question": question, "answers": answers}


def town_examples(towns: int, passages: int = 3, seed: int = 0) -> list[dict[str, Any]]:
    """Two questions on each of some passages about each of some towns; some years occur in several passages."""
    choice = random.Random(seed)
    records: list[dict[str, Any]] = []
    for town in range(towns):
        title = f"{choice.choice(SYLLABLES)}{choice.choice(SYLLABLES)} {town}".capitalize()
        for what in ("bridge", "church", "tower", "mill", "old town")[:passages]:
            year, river = str(choice.randrange(1200, 1204)), "".join(choice.sample(SYLLABLES, 2)).capitalize()
            context = f"The {what} of {title} stands on the river {river}. It was built in {year} by the people."
            records.append(example(len(records), title, context, f"when was the {what} of {title} built?", year))
            records.append(example(len(records), title, context, f"the {what} is on which river?", river))
    return records


def documents(count: int, seed: int = 1) -> list[dict[str, Any]]:
    """Documents of several sentences that are all different."""
    choice = random.Random(seed)

    def sentence() -> str:
        words = [choice.choice(SYLLABLES) + choice.choice(SYLLABLES) for _ in range(5)]
        return f"The {words[0]} of {' '.join(words[1:])} is old."

    return [{"id": str(n), "title": f"Page {n}", "text": " ".join(sentence() for _ in range(4))} for n in range(count)]
