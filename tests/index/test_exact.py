"""Exact search keeps the contract with and without codes, and gives the same to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from index_contract import IndexContract, make_store

import realm.index.exact
import realm.index.scans
import realm.index.shortlist
from realm.errors import KnowledgeBaseError
from realm.index.codes import CodeStore, build_codes
from realm.index.exact import ExactIndex
from realm.index.protocol import Index
from realm.index.vectors import VectorStore


def with_codes(store: VectorStore, gone: np.ndarray | None, folder: Path) -> ExactIndex:
    codes = CodeStore(folder, build_codes(store, folder), store.dim)
    return ExactIndex(store, gone, codes)


class TestVectors(IndexContract):
    def make(self, store: VectorStore, gone: np.ndarray, folder: Path) -> Index:
        return ExactIndex(store, gone)


class TestCodes(IndexContract):
    def make(self, store: VectorStore, gone: np.ndarray, folder: Path) -> Index:
        return with_codes(store, gone, folder)


class TestCodesInSmallTiles(IndexContract):
    """A few rows at a time, as in a large store."""

    large_rows = 4000

    @pytest.fixture(autouse=True)
    def _small(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(realm.index.scans, "_CODE_ROWS", 700)
            patch.setattr(realm.index.scans, "_MIN_CODE_ROWS", 13)
            patch.setattr(realm.index.scans, "_TILE_NUMBERS", 1)
            patch.setattr(realm.index.scans, "_MIN_TILE_ROWS", 300)
            patch.setattr(realm.index.shortlist, "_MAX_WAITING", 40)
            patch.setattr(realm.index.shortlist, "_PIECE_NUMBERS", 500)
            patch.setattr(realm.index.exact, "_MIN_USELESS_ROWS", 30)
            patch.setattr(realm.index.exact, "_MAX_QUERIES", 30)
            patch.setattr(realm.index.exact, "_MAX_CODE_QUERIES", 30)
            yield

    def make(self, store: VectorStore, gone: np.ndarray, folder: Path) -> Index:
        return with_codes(store, gone, folder)


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_hits_do_not_depend_on_how_roughly_torch_multiplies(
    tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: precision)
    random = np.random.default_rng(0)
    store = make_store(tmp_path, random.standard_normal((20_000, 24)))
    queries = random.standard_normal((30, 24)).astype(np.float32)
    expected = ExactIndex(store).search(queries, 20)
    original = torch.aminmax

    class Rough(torch.Tensor):
        """Multiplies as a device does that rounds its factors."""

        def __matmul__(self, other: torch.Tensor) -> torch.Tensor:
            plain = self.as_subclass(torch.Tensor)
            if precision == "medium":
                return plain.bfloat16().float() @ other.bfloat16().float()
            bits = other.view(torch.int32) & ~0x1FFF if precision == "high" else other.view(torch.int32)
            return plain @ bits.view(torch.float32)

    empty = torch.empty
    monkeypatch.setattr(torch, "aminmax", lambda rows: original(rows.as_subclass(torch.Tensor)))
    monkeypatch.setattr(torch, "empty", lambda *shape, **options: empty(*shape, **options).as_subclass(Rough))
    found = ExactIndex(store).search(queries, 20)
    assert found.rows.tolist() == expected.rows.tolist()
    assert found.scores.tolist() == expected.scores.tolist()


def test_kernel_that_rounds_products_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    store = make_store(tmp_path, random.standard_normal((500, 32)))
    index = with_codes(store, None, tmp_path)
    queries = random.standard_normal((2, 32)).astype(np.float32)
    expected = index.search(queries, 5)

    def rounds(rows: torch.Tensor, codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        return rows @ (codes.bfloat16() * scales[:, None]).T

    realm.index.scans.codes_can_be_scanned.cache_clear()
    monkeypatch.setattr(torch, "_weight_int8pack_mm", rounds)
    assert not realm.index.scans.codes_can_be_scanned(32, 2)
    assert index.search(queries, 5).rows.tolist() == expected.rows.tolist()
    realm.index.scans.codes_can_be_scanned.cache_clear()


def test_codes_leave_few_rows_to_be_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    store = make_store(tmp_path, random.standard_normal((50_000, 128)))
    index = with_codes(store, None, tmp_path)
    taken: list[int] = []
    take = VectorStore.take

    def counting(store: VectorStore, rows: np.ndarray) -> np.ndarray:
        taken.append(len(rows))
        return take(store, rows)

    monkeypatch.setattr(VectorStore, "take", counting)
    for k, most in ((5, 100), (1000, 5000)):
        taken.clear()
        index.search(random.standard_normal((1, 128)).astype(np.float32), k)
        assert k <= sum(taken) <= most


def test_codes_of_other_vectors_are_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a", np.ones((3, 4), np.float32))
    other = make_store(tmp_path / "b", np.ones((2, 4), np.float32))
    codes = CodeStore(tmp_path / "b", build_codes(other, tmp_path / "b"), 4)
    with pytest.raises(KnowledgeBaseError, match=r"codes of 2 x 4 numbers, and vectors of 3 x 4.*realm compact"):
        ExactIndex(store, None, codes)
