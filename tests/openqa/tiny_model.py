"""A model folder of a few kilobytes with random weights, and stories to index, for tests of what is built on models.

Every letter is a word piece, with and without `##`, so that any text can be cut into pieces; common words are whole.
"""

from __future__ import annotations

import hashlib
import json
import random
import string
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from realm.models.configuration import RealmConfig
from realm.openqa.model import RealmForOpenQA
from realm.records import Document
from realm.text.tokenization import RealmTokenizerFast

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = """a an and as at by for from he her his in is it its of on or over she that the their they this to under was
were where who with ada albert alps anna atlas baker bishop boat bridge britain castle church city clock coast color
comet count crown dance desert doctor dragon duke earth empire farmer field forest france garden germany ghost gold
harbor horse house island king lake library london market moon mountain music north ocean opera painter palace paris
plato poet queen river rome sailor school ship silver south star stone storm summer teacher temple tower train valley
village volcano west winter wolf writer built crossed discovered drew found founded guarded lost made named painted
ruled saw sold sought taught visited won wrote""".split()
PLACES = ["Zürich", "São Paulo", "St. Kilda", "Reykjavík", "O'Fallon", "Aix-en-Provence", "Łódź", "Tokyo (東京)"]

TINY = {
    "hidden_size": 32,
    "retriever_proj_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 320,
    "span_hidden_size": 16,
    "max_span_width": 6,
    "reader_beam_size": 3,
    "searcher_beam_size": 5,
    "num_block_records": 12,
    "initializer_range": 0.4,
}


def vocabulary() -> list[str]:
    """All word pieces, in the order of their ids."""
    letters = string.ascii_lowercase + string.digits
    return [*SPECIAL, *letters, *string.punctuation, *(f"##{letter}" for letter in letters), *WORDS[1:]]


def write_tiny_model(folder: Path, seed: int = 0, **sizes: Any) -> Path:
    """A `RealmForOpenQA` with random weights, its config and its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    pieces = vocabulary()
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = RealmForOpenQA(RealmConfig(vocab_size=len(pieces), **{**TINY, **sizes}))
    model.save_pretrained(folder)
    RealmTokenizerFast(vocab_file=str(folder / "vocab.txt"), model_max_length=320).save_pretrained(folder)
    return folder


def stories(count: int, seed: int = 0, sentences: int = 4) -> list[Document]:
    """Documents of made-up sentences with capitals, accents and line breaks; every fifth is ten times as long."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        lines = []
        for _ in range(sentences * (10 if number % 5 == 4 else 1)):
            words = chance.choices(WORDS, k=chance.randint(5, 12))
            words[chance.randrange(len(words))] = chance.choice(PLACES)
            lines.append(" ".join([words[0].capitalize(), *words[1:]]) + chance.choice([".", "!", ".\n\n"]))
        title = f"{chance.choice(WORDS).title()} {number}" if number % 4 else ""
        found.append(Document(id=f"story/{number}", title=title, text=" ".join(lines).strip()))
    return found


def write_jsonl(path: Path, documents: Iterable[Document]) -> Path:
    """A source file of documents."""
    lines = (json.dumps({"id": d.id, "title": d.title, "text": d.text}, ensure_ascii=False) for d in documents)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by relative path: equal if and only if nothing has changed."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
