"""Memory that FAISS reads without owning it."""

import ctypes

import faiss
import numpy as np
import pytest

import realm.index.lent_codes
from realm.index.lent_codes import aligned, lent, tables_are_known


def an_index(columns: int = 4) -> faiss.IndexPQFastScan:
    index = faiss.IndexPQFastScan(columns, columns, 4, faiss.METRIC_INNER_PRODUCT)
    levels = np.random.default_rng(0).standard_normal(columns * 16).astype(np.float32)
    faiss.copy_array_to_vector(levels, index.pq.centroids)
    index.is_trained = True
    return index


def blocks(count: int, columns: int = 4) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, columns, 16), dtype=np.uint8)


def searched(index: faiss.IndexPQFastScan, codes: np.ndarray) -> tuple[list[float], list[int]]:
    index.ntotal = index.ntotal2 = 32 * len(codes)
    query = np.random.default_rng(1).standard_normal((1, 4)).astype(np.float32)
    scores, rows = index.search(query, 40)
    return scores[0].tolist(), rows[0].tolist()


def test_what_is_lent_is_read_as_a_copy_would_be() -> None:
    codes = blocks(50)
    index = an_index()
    faiss.copy_array_to_AlignedTable(codes.reshape(-1), index.codes)
    expected = searched(index, codes)
    other = an_index()
    with lent(other, aligned(codes)):
        assert searched(other, codes) == expected
    assert other.codes.size() == 0


@pytest.mark.parametrize("fails", [False, True])
def test_the_index_gets_its_own_rows_back(fails: bool) -> None:
    index = an_index()
    own = blocks(3)
    faiss.copy_array_to_AlignedTable(own.reshape(-1), index.codes)
    borrowed = aligned(blocks(50))
    try:
        with lent(index, borrowed):
            assert int(index.codes.get()) == borrowed.ctypes.data
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert faiss.AlignedTable_to_array(index.codes).tolist() == own.reshape(-1).tolist()


def test_codes_that_faiss_could_not_load_are_refused() -> None:
    codes = aligned(blocks(3)).reshape(-1)
    for wrong in (codes[1:], codes[:128].reshape(2, 64)[:, ::2]):
        with pytest.raises(ValueError, match="in one piece and begin at a multiple of 32"), lent(an_index(), wrong):
            pass


def test_tables_of_another_layout_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tables_are_known(an_index())

    class Swapped(ctypes.Structure):
        _fields_ = (("bytes", ctypes.c_size_t), ("pointer", ctypes.c_void_p))

    monkeypatch.setattr(realm.index.lent_codes, "_Table", Swapped)
    assert not tables_are_known(an_index())
