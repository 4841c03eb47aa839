"""Exact search keeps the contract with and without codes, and gives the same to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from index_contract import IndexContract, make_store, reference_scores

import realm.index.code_scans
import realm.index.exact
import realm.index.scans
import realm.index.shortlist
import realm.index.sketch_scan
import realm.index.sketches
from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.index.codes import CodeStore, build_codes
from realm.index.exact import ExactIndex
from realm.index.protocol import Index
from realm.index.scans import Queries, copied, scan_vectors
from realm.index.sketch_scan import scan_sketches
from realm.index.sketches import SketchStore, build_sketches
from realm.index.vectors import VectorStore


def with_codes(store: VectorStore, gone: np.ndarray | None, folder: Path) -> ExactIndex:
    codes = CodeStore(folder, build_codes(store, folder), store.dim)
    return ExactIndex(store, gone, codes)


class TestVectors(IndexContract):
    def make(self, store: VectorStore, gone: np.ndarray, folder: Path) -> Index:
        return ExactIndex(store, gone)


class TestCopiedVectors(IndexContract):
    """What a graphics card holds instead of the files; here on the CPU."""

    large_rows = 4000

    def make(self, store: VectorStore, gone: np.ndarray, folder: Path) -> Index:
        index = ExactIndex(store, gone, device="cpu")
        assert index._resident is None
        index._resident = copied(store, torch.device("cpu"))
        return index


class TestCodes(IndexContract):
    def make(self, store: VectorStore, gone: np.ndarray, folder: Path) -> Index:
        return with_codes(store, gone, folder)


def with_sketches(store: VectorStore, gone: np.ndarray | None, folder: Path) -> ExactIndex:
    rows = store.segments[0].rows if store.segments else 1
    sketches = SketchStore(folder, build_sketches(store, folder, rows_per_segment=rows), store.dim)
    codes = CodeStore(folder, build_codes(store, folder), store.dim)
    return ExactIndex(store, gone, codes, sketches)


class TestSketches(IndexContract):
    @pytest.fixture(autouse=True)
    def _short_rows(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(realm.index.sketches, "_MIN_DIM", 1)
            yield

    def make(self, store: VectorStore, gone: np.ndarray, folder: Path) -> Index:
        return with_sketches(store, gone, folder)


class TestSketchesInSmallTiles(TestSketches):
    """Nothing is too large, too little or too uncertain for them."""

    large_rows = 4000

    @pytest.fixture(autouse=True)
    def _small(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(realm.index.sketch_scan, "_TILE_ROWS", 320)
            patch.setattr(realm.index.exact, "_FOUND", 2)
            patch.setattr(realm.index.exact, "_FOUND_PER_K", 1)
            patch.setattr(realm.index.exact, "_MAX_SKETCH_K", 5000)
            patch.setattr(realm.index.exact, "_MIN_LIVE", 0.0)
            patch.setattr(realm.index.exact, "_MAX_UNDECIDED_TILES", 1000)
            patch.setattr(realm.index.exact, "_FEW", 1 << 40)
            patch.setattr(realm.index.shortlist, "_LIKELY_ROWS", 1)
            patch.setattr(realm.index.shortlist, "_LIKELY_WAITING", 3)
            yield


class TestCodesInSmallTiles(IndexContract):
    """A few rows at a time, as in a large store."""

    large_rows = 4000

    @pytest.fixture(autouse=True)
    def _small(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(realm.index.code_scans, "_CODE_ROWS", 700)
            patch.setattr(realm.index.code_scans, "_PIECE_NUMBERS", 3000)
            patch.setattr(realm.index.code_scans, "_TILE_PRODUCTS", 1)
            patch.setattr(realm.index.code_scans, "_MIN_TILE_ROWS", 130)
            patch.setattr(realm.index.scans, "_TILE_NUMBERS", 1)
            patch.setattr(realm.index.scans, "_MIN_TILE_ROWS", 300)
            patch.setattr(realm.index.shortlist, "_MAX_WAITING", 40)
            patch.setattr(realm.index.shortlist, "_PIECE_NUMBERS", 500)
            patch.setattr(realm.index.exact, "_MIN_USELESS_ROWS", 30)
            patch.setattr(realm.index.exact, "_MAX_QUERIES", 30)
            yield

    def make(self, store: VectorStore, gone: np.ndarray, folder: Path) -> Index:
        return with_codes(store, gone, folder)


def test_copied_vectors_are_multiplied_instead_of_the_files(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float16)
    store, device = make_store(tmp_path, vectors, 20), torch.device("cpu")
    queries = Queries.of(np.ones((2, 8), np.float32))
    plain = torch.cat([tile.products.clone() for tile in scan_vectors(store, queries, device)], dim=1)
    twice = 2 * copied(store, device)
    tiles = [tile.products.clone() for tile in scan_vectors(store, queries, device, 0, twice)]
    torch.testing.assert_close(torch.cat(tiles, dim=1), 2 * plain)


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

    realm.index.code_scans.kernel_can_be_used.cache_clear()
    monkeypatch.setattr(torch, "_weight_int8pack_mm", rounds)
    assert not realm.index.code_scans.kernel_can_be_used(32, 2)
    assert index.search(queries, 5).rows.tolist() == expected.rows.tolist()
    realm.index.code_scans.kernel_can_be_used.cache_clear()


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


@pytest.mark.parametrize("is_coded", [False, True])
def test_vectors_that_are_no_numbers_are_an_error_and_never_a_hit(tmp_path: Path, is_coded: bool) -> None:
    store = make_store(tmp_path, np.random.default_rng(0).standard_normal((300, 32)).astype(np.float16))
    build_codes(store, tmp_path)
    index = with_codes(store, None, tmp_path) if is_coded else ExactIndex(store)
    path = tmp_path / "000000.f16"
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(CorruptFileError, match=r"000000\.f16: a number in it is NaN or infinite"):
        index.search(np.ones((2, 32), np.float32), 5)


def test_codes_of_other_vectors_are_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a", np.ones((3, 4), np.float32))
    other = make_store(tmp_path / "b", np.ones((2, 4), np.float32))
    codes = CodeStore(tmp_path / "b", build_codes(other, tmp_path / "b"), 4)
    with pytest.raises(KnowledgeBaseError, match=r"codes of 2 x 4 numbers, and vectors of 3 x 4.*realm compact"):
        ExactIndex(store, None, codes)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_sketches_give_the_best_rows_whatever_the_spectrum(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 1 << 30)))
    dim, rows = data.draw(st.sampled_from([64, 67, 128])), data.draw(st.integers(1, 700))
    decay, spread = data.draw(st.floats(-0.3, 0.3)), data.draw(st.floats(0, 3))
    vectors = random.standard_normal((rows, dim)) * np.exp(decay * np.arange(dim))
    vectors = vectors * 10.0 ** (spread * random.standard_normal((rows, 1))) + data.draw(st.sampled_from([0, 1, -50]))
    vectors[random.random(rows) < data.draw(st.sampled_from([0, 0.5]))] = vectors[0]
    vectors = np.clip(vectors, -65504, 65504).astype(np.float16)
    queries = np.concatenate([vectors[:2].astype(np.float32), random.standard_normal((2, dim)).astype(np.float32)])
    queries[-1] *= np.exp(-decay * np.arange(dim))
    folder = tmp_path_factory.mktemp("vectors")
    store = make_store(folder, vectors, 300)
    k = data.draw(st.sampled_from([1, 5, 60]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(realm.index.sketch_scan, "_TILE_ROWS", 96)
        patch.setattr(realm.index.exact, "_FOUND", 4)
        patch.setattr(realm.index.exact, "_MAX_UNDECIDED_TILES", 100)
        found = with_sketches(store, None, folder).search(queries, k)
    expected = ExactIndex(store).search(queries, k)
    assert found.rows.tolist() == expected.rows.tolist()
    assert found.scores.tolist() == expected.scores.tolist()


@pytest.mark.parametrize("spread", [0, 1])
def test_sketches_bound_the_score_of_every_row(tmp_path: Path, spread: float) -> None:
    random = np.random.default_rng(6)
    vectors = (random.standard_normal((3000, 70)) * 10.0 ** random.uniform(-spread, spread, (3000, 1))).astype(
        np.float16
    )
    store = make_store(tmp_path, vectors)
    sketches = SketchStore(tmp_path, build_sketches(store, tmp_path, rows_per_segment=3000), 70)
    queries = Queries.of(random.standard_normal((3, 70)).astype(np.float32) * 1000)
    for count in (200, 3000):
        (tile,) = scan_sketches(sketches, queries, count)
        for place, (rows, upper) in enumerate(zip(tile.rows, tile.upper, strict=True)):
            scores = reference_scores(vectors, queries.raw[place]) * np.exp2(queries.exponents[place])
            assert len(set(rows.tolist())) == count
            assert (scores[rows] <= upper).all()
            assert (np.delete(scores, rows) <= tile.others[place]).all()
            # Tight, too: a bound of infinity would hold as well.
            lengths = np.linalg.norm(vectors[rows].astype(np.float64), axis=1)
            if not spread:
                assert (upper - scores[rows]).mean() < 0.3 * lengths.mean() * np.linalg.norm(queries.scaled[place])


def test_sketches_leave_few_rows_to_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    centres = random.standard_normal((500, 128))
    vectors = centres[random.integers(500, size=30_000)] + random.standard_normal((30_000, 128))
    store = make_store(tmp_path, vectors)
    index = with_sketches(store, None, tmp_path)
    queries = (centres[:3] + random.standard_normal((3, 128))).astype(np.float32)
    taken: list[int] = []
    take = VectorStore.take
    expected = ExactIndex(store).search(queries, 5)

    def counting(store: VectorStore, rows: np.ndarray) -> np.ndarray:
        taken.append(len(rows))
        return take(store, rows)

    monkeypatch.setattr(VectorStore, "take", counting)
    monkeypatch.setattr(realm.index.exact, "scan_vectors", None)
    monkeypatch.setattr(CodeStore, "chunks", lambda store, rows, first, end: iter(()) if first == 30_000 else None)
    assert index.search(queries, 5).rows.tolist() == expected.rows.tolist()
    assert sum(taken) <= 900


def test_sketches_that_faiss_reads_otherwise_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    store = make_store(tmp_path, random.standard_normal((500, 64)))
    index = with_sketches(store, None, tmp_path)
    queries = random.standard_normal((2, 64)).astype(np.float32)
    expected = index.search(queries, 5)
    usable = realm.index.sketch_scan.sketches_can_be_scanned
    assert usable()
    usable.cache_clear()
    packed = realm.index.sketch_scan.packed
    monkeypatch.setattr(realm.index.sketch_scan, "packed", lambda places: packed(places)[::-1])
    assert not usable()
    assert index.search(queries, 5).rows.tolist() == expected.rows.tolist()
    usable.cache_clear()


def test_sketches_of_other_vectors_are_refused(tmp_path: Path) -> None:
    large = make_store(tmp_path / "b", np.ones((4, 64), np.float32))
    sketches = SketchStore(tmp_path / "b", build_sketches(large, tmp_path / "b", rows_per_segment=4), 64)
    store = make_store(tmp_path / "a", np.ones((3, 64), np.float32))
    with pytest.raises(KnowledgeBaseError, match=r"sketches of 4 x 64 numbers, and vectors of 3 x 64.*realm compact"):
        ExactIndex(store, None, None, sketches)
