"""Cuts a document of 8 MB into blocks, and prints how much memory that took.

    python chunk_in_bounded_memory.py lines|prose|"one sentence"

Prints one JSON line: the text, and by how much the memory of the process grew, in MB.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece

from realm.corpus.chunking import chunk_documents
from realm.records import Document
from realm.text.pieces import PieceTokenizer

CHARACTERS = 8_000_000
WORDS = [f"word{number}" for number in range(3000)]


def text_of(kind: str) -> str:
    """Words by chance."""
    chance = random.Random(0)
    if kind == "lines":
        some = "".join(f"{chance.choice(WORDS)}\n" for _ in range(100_000))
    else:
        some = " ".join(chance.choices(WORDS, k=100_000)) + " "
    if kind == "prose":
        some = ". ".join(some[start : start + 80].capitalize() for start in range(0, len(some), 80)) + ". "
    return (some * (CHARACTERS // len(some) + 1))[:CHARACTERS]


def tokenizer() -> PieceTokenizer:
    """Every word, and every part of one that `prose` makes, is one piece or unknown."""
    vocabulary = {piece: place for place, piece in enumerate(["[UNK]", ".", *WORDS])}
    made = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PieceTokenizer(made)


def peak_mb() -> float:
    # Not ru_maxrss, which begins with what the process that started this one held.
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def main(kind: str) -> None:
    document = Document("d", "", text_of(kind))
    pieces = tokenizer()
    list(chunk_documents([Document("e", "", document.text[:10_000])], pieces))  # loads every library
    before = peak_mb()
    (chunked,) = chunk_documents([document], pieces)
    result = {"blocks": len(chunked.blocks), "text_mb": CHARACTERS / 1e6, "grown_mb": peak_mb() - before}
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
