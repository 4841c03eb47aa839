"""Vectors that resemble the embeddings of an encyclopedia, in any number, for the benchmarks of search.

    python benchmarks/synthetic_vectors.py FOLDER [--rows 13353718] [--dim 128] [--seed 0]

Blocks come in documents, documents in subtopics, subtopics in topics. A vector is the sum of one normal draw for
each of these, of falling variance along the axes, brought to zero mean and equal length, as a layer normalisation
ends an encoder. The shares of the four levels are chosen so that the inner products with the 2nd, 5th, 20th, 100th
and 1,000th neighbour are about those that the built-in model gives on 12,679 blocks of articles: 15.5, 13.8, 11.3,
7.8 and 4.1 there; 15.0, 14.0, 10.2, 8.2 and 3.6 here.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from realm.artifacts import write_json_atomically
from realm.index.segments import Segment
from realm.index.vectors import VectorStore, VectorWriter

WIKIPEDIA_ROWS = 13_353_718
DESCRIPTION = "synthetic.json"

_BATCH = 1 << 14
_TOPICS = 512
_ROWS_PER_SUBTOPIC = 200
_ROWS_PER_DOCUMENT = 8
# Shares of the variance: topic, subtopic, document, block.
_SHARES = np.sqrt(np.array([0.20, 0.20, 0.30, 0.30], dtype=np.float32))
_QUESTION_NOISE = 0.6
_SCALE = 0.395


def write_clustered_vectors(folder: Path, rows: int, dim: int = 128, seed: int = 0) -> VectorStore:
    """Vectors in the files of a knowledge base, written in batches; those of an earlier call are opened again."""
    asked = {"rows": rows, "dim": dim, "seed": seed}
    described = folder / DESCRIPTION
    if described.is_file():
        found = json.loads(described.read_text())
        segments = [Segment.from_json(entry) for entry in found.pop("segments")]
        if found == asked:
            return VectorStore(folder, segments, dim)
        described.unlink()
    with VectorWriter(folder, dim) as writer:
        for batch in _batches(rows, dim, seed):
            writer.append(batch)
        published = writer.publish()
    write_json_atomically(described, {**asked, "segments": [dataclasses.asdict(segment) for segment in published]})
    return VectorStore(folder, published, dim)


def clustered_queries(store: VectorStore, count: int, seed: int = 1) -> np.ndarray:
    """Questions: each is near one block, drawn at random, with noise of the same spectrum. Float32, (count, dim)."""
    random = np.random.default_rng([seed, 7])
    near = store.take(random.integers(0, store.rows, count))
    noise = random.standard_normal((count, store.dim), dtype=np.float32) * _spectrum(store.dim)
    return _normalised(near + _QUESTION_NOISE * _SCALE * noise)


def _batches(rows: int, dim: int, seed: int) -> Iterator[np.ndarray]:
    random = np.random.default_rng([seed, 0])
    spectrum = _spectrum(dim)
    topics = random.standard_normal((_TOPICS, dim), dtype=np.float32)
    subtopics = random.standard_normal((max(1, rows // _ROWS_PER_SUBTOPIC), dim), dtype=np.float32)
    # Few topics are large and many are small.
    weights = 1.0 / np.arange(1, _TOPICS + 1) ** 0.7
    topic_of = random.choice(_TOPICS, len(subtopics), p=weights / weights.sum())
    subtopics = _SHARES[0] * topics[topic_of] + _SHARES[1] * subtopics
    for start in range(0, rows, _BATCH):
        random = np.random.default_rng([seed, 1, start])
        count = min(_BATCH, rows - start)
        documents = subtopics[random.integers(0, len(subtopics), -(-count // _ROWS_PER_DOCUMENT))]
        documents += _SHARES[2] * random.standard_normal(documents.shape, dtype=np.float32)
        blocks = random.standard_normal((len(documents), _ROWS_PER_DOCUMENT, dim), dtype=np.float32)
        blocks *= _SHARES[3]
        blocks += documents[:, None]
        blocks *= spectrum
        yield _normalised(blocks.reshape(-1, dim)[:count])


def _spectrum(dim: int) -> np.ndarray:
    """Standard deviation along each axis: half of the axes carry most of the variance."""
    deviations = np.exp(-1.5 * np.arange(dim, dtype=np.float32) / dim)
    return (deviations / np.sqrt((deviations**2).mean())).astype(np.float32)


def _normalised(vectors: np.ndarray) -> np.ndarray:
    """Each row brought to zero mean and a spread of `_SCALE`, in place."""
    vectors -= vectors.mean(axis=1, keepdims=True)
    lengths = np.sqrt(np.einsum("rd,rd->r", vectors, vectors))
    vectors *= (_SCALE * np.sqrt(np.float32(vectors.shape[1])) / lengths)[:, None]
    return vectors


def main() -> None:
    """Write the vectors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=WIKIPEDIA_ROWS)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    store = write_clustered_vectors(asked.folder, asked.rows, asked.dim, asked.seed)
    print(f"{store.rows:,} x {store.dim} in {len(store.segments)} files")


if __name__ == "__main__":
    main()
