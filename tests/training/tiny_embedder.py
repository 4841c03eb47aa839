"""An embedder of a few thousand random weights, and blocks for it."""

from __future__ import annotations

from pathlib import Path

import torch
from tiny_trunk import HIDDEN, documents, tokenizer_of, write_lines

from realm.models.configuration import RealmConfig
from realm.models.embedder import RealmEmbedder
from realm.training.block_source import open_blocks
from realm.training.token_store import TokenStore

DIM = 16


def tiny_embedder(trunk: Path, seed: int = 0, dim: int = DIM) -> RealmEmbedder:
    """Random weights, large enough that vectors differ."""
    config = RealmConfig(
        vocab_size=len((trunk / "vocab.txt").read_text("utf-8").splitlines()), hidden_size=HIDDEN,
        retriever_proj_size=dim, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=160, initializer_range=0.4,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RealmEmbedder(config).eval()


def change(embedder: RealmEmbedder, step: int) -> None:
    """Something like a training step: other weights, the same ones for the same step and weights before."""
    with torch.no_grad():
        for number, parameter in enumerate(embedder.parameters()):
            generator = torch.Generator().manual_seed(1000 * step + number)
            parameter += 0.01 * torch.randn(parameter.shape, generator=generator)


def tiny_blocks(trunk: Path, folder: Path, count: int = 30, seed: int = 1) -> TokenStore:
    """Blocks of different lengths."""
    records = documents(count, seed)
    for number, record in enumerate(records):
        record["text"] = " ".join([record["text"]] * (1 + number % 4))
    source = write_lines(folder / f"documents-{count}-{seed}.jsonl", records)
    return open_blocks(source, tokenizer_of(trunk), folder / "cache", max_pieces=160)
