"""Vectors of a corpus are those of its blocks, however many processes made them and however often they were killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_embedder import DIM, change, tiny_blocks, tiny_embedder
from tiny_trunk import tokenizer_of

from realm.errors import CorruptFileError, ModelError, UsageError
from realm.features.inputs import InputBuilder
from realm.models.embedder import RealmEmbedder
from realm.training import corpus_embedding
from realm.training.corpus_embedding import EmbeddingProgress, embed_corpus
from realm.training.corpus_vectors import CorpusVectors, weights_digest
from realm.training.distributed import Processes
from realm.training.token_store import TokenStore

ROWS = 8


@pytest.fixture(scope="module")
def blocks(trunk: Path, tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    return tiny_blocks(trunk, tmp_path_factory.mktemp("blocks"))


@pytest.fixture(scope="module")
def builder(trunk: Path) -> InputBuilder:
    return InputBuilder(tokenizer_of(trunk))


@pytest.fixture
def embedder(trunk: Path) -> RealmEmbedder:
    return tiny_embedder(trunk)


def one_by_one(blocks: TokenStore, embedder: RealmEmbedder, builder: InputBuilder) -> NDArray[np.float32]:
    """The oracle: every block by itself, without padding."""
    vectors = []
    for block in blocks.take(range(len(blocks))):
        inputs = builder.pad([builder.block(block.title_ids, block.body_ids, 160)])
        with torch.inference_mode():
            vectors.append(embedder(**inputs.for_trunk()).projected_score[0].numpy())
    return np.stack(vectors)


def all_of(found: CorpusVectors) -> NDArray[np.float32]:
    return found.vectors.take(np.arange(found.vectors.rows))


def test_row_r_is_the_vector_of_block_r(
    blocks: TokenStore, embedder: RealmEmbedder, builder: InputBuilder, tmp_path: Path
) -> None:
    found = embed_corpus(blocks, embedder, builder, tmp_path, rows_per_shard=ROWS)
    expected = one_by_one(blocks, embedder, builder)
    assert expected.shape == (len(blocks), DIM)
    np.testing.assert_allclose(all_of(found), expected, rtol=2e-3, atol=2e-3)
    assert found.parents.corpus == blocks.digest
    assert found.parents.embedder == weights_digest(embedder.state_dict(), embedder.config)
    assert found.codes is not None
    assert found.codes.rows == len(blocks)
    found.verify()
    assert not list(tmp_path.glob("shards-*"))


@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_make_the_same_bits(
    blocks: TokenStore, embedder: RealmEmbedder, builder: InputBuilder, tmp_path: Path, count: int
) -> None:
    alone = embed_corpus(blocks, embedder, builder, tmp_path / "alone", rows_per_shard=ROWS)
    shares: list[CorpusVectors] = []

    def work(rank: int) -> None:
        shares.append(
            embed_corpus(
                blocks, embedder, builder, tmp_path / "shared", rows_per_shard=ROWS,
                processes=Processes(rank, count), patience_seconds=20,
            )
        )  # fmt: skip

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(shares) == count
    for shared in shares:
        assert all_of(shared).tobytes() == all_of(alone).tobytes()


class Killed(Exception):
    """Takes the place of a signal: nothing after it is done."""


def test_a_killed_run_makes_only_what_is_missing(
    blocks: TokenStore, embedder: RealmEmbedder, builder: InputBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = embed_corpus(blocks, embedder, builder, tmp_path / "whole", rows_per_shard=ROWS)
    monkeypatch.setattr("realm.training.embedding_progress._REPORT_SECONDS", 0.0)
    found, finished = [], False
    while not finished:
        seen: list[EmbeddingProgress] = []

        def kill_in_the_second_shard(progress: EmbeddingProgress, seen: list[EmbeddingProgress] = seen) -> None:
            seen.append(progress)
            if progress.done - progress.found > ROWS:
                raise Killed

        try:
            cut = embed_corpus(
                blocks, embedder, builder, tmp_path / "cut", rows_per_shard=ROWS, progress=kill_in_the_second_shard
            )
            finished = True
        except Killed:
            with pytest.raises(CorruptFileError):
                CorpusVectors.open(tmp_path / "cut")
        found.append(seen[0].found)
    assert found == [ROWS * run for run in range(len(found))]
    assert len(found) == -(-len(blocks) // ROWS)
    assert all_of(cut).tobytes() == all_of(whole).tobytes()


def test_what_is_published_is_not_made_again_unless_asked(
    blocks: TokenStore, embedder: RealmEmbedder, builder: InputBuilder, tmp_path: Path
) -> None:
    embed_corpus(blocks, embedder, builder, tmp_path, rows_per_shard=ROWS)
    seen: list[EmbeddingProgress] = []
    embed_corpus(blocks, embedder, builder, tmp_path, rows_per_shard=ROWS, progress=seen.append)
    assert not seen
    embed_corpus(blocks, embedder, builder, tmp_path, rows_per_shard=ROWS, progress=seen.append, resume=False)
    assert (seen[-1].done, seen[-1].found) == (len(blocks), 0)


def test_other_weights_get_vectors_of_their_own(
    blocks: TokenStore, embedder: RealmEmbedder, builder: InputBuilder, tmp_path: Path
) -> None:
    before = all_of(embed_corpus(blocks, embedder, builder, tmp_path, rows_per_shard=ROWS))
    change(embedder, 1)
    after = embed_corpus(blocks, embedder, builder, tmp_path, rows_per_shard=ROWS)
    assert not np.array_equal(all_of(after), before)
    np.testing.assert_allclose(all_of(after), one_by_one(blocks, embedder, builder), rtol=2e-3, atol=2e-3)


def test_a_broken_embedder_is_said(
    blocks: TokenStore, embedder: RealmEmbedder, builder: InputBuilder, tmp_path: Path
) -> None:
    with torch.no_grad():
        embedder.cls.dense.bias[0] = torch.nan
    with pytest.raises(ModelError, match=r"vector of block 0 .*so have 8 of 8 blocks"):
        embed_corpus(blocks, embedder, builder, tmp_path, rows_per_shard=ROWS)


def test_a_process_that_never_comes_is_said(
    blocks: TokenStore, embedder: RealmEmbedder, builder: InputBuilder, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"waited 1 s for .*000001\.npy"):
        embed_corpus(
            blocks, embedder, builder, tmp_path, rows_per_shard=ROWS, processes=Processes(0, 2), patience_seconds=1
        )


def test_a_process_that_is_done_waits_as_long_as_others_make_shards(
    blocks: TokenStore, embedder: RealmEmbedder, builder: InputBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = corpus_embedding._Work
    make = work._vectors_of

    def slowly_by_the_first(self: Any, shard: int, report: Callable[[int], None]) -> Any:
        time.sleep(0.0 if shard % 2 else 0.6)
        return make(self, shard, report)

    monkeypatch.setattr(work, "_vectors_of", slowly_by_the_first)
    done: list[int] = []

    def share(rank: int, seconds: float) -> None:
        embed_corpus(
            blocks, embedder, builder, tmp_path, rows_per_shard=4, processes=Processes(rank, 2),
            patience_seconds=seconds,
        )  # fmt: skip
        done.append(rank)

    first = threading.Thread(target=share, args=(0, 20.0))
    first.start()
    began = time.monotonic()
    share(1, 1.5)
    first.join()
    assert time.monotonic() - began > 1.5
    assert sorted(done) == [0, 1]


def test_progress_gives_rate_and_remaining_time() -> None:
    progress = EmbeddingProgress(done=30, total=50, found=10, seconds=4.0)
    assert (progress.blocks_per_second, progress.seconds_left) == (5.0, 4.0)
    assert EmbeddingProgress(10, 50, 10, 0.0).seconds_left is None
