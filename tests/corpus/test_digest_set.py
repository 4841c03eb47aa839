"""A set of strings at a few bytes each."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.corpus import digest_set
from realm.corpus.digest_set import DigestSet


@given(texts=st.lists(st.text(max_size=3)), waiting=st.integers(1, 20))
def test_add_says_what_a_python_set_would(texts: list[str], waiting: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digest_set, "_WAITING", waiting)
        digests, strings = DigestSet(), set[str]()
        for text in texts:
            assert (text in digests) == (text in strings)
            assert digests.add(text) == (text not in strings)
            strings.add(text)
            assert text in digests


def test_many_strings_are_found_again_and_take_16_bytes_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest_set, "_WAITING", 1000)
    digests = DigestSet()
    assert all(digests.add(str(number)) for number in range(20_000))
    assert not any(digests.add(str(number)) for number in range(0, 20_000, 37))
    assert sum(run.nbytes for runs in digests._runs for run in runs) == 16 * 20_000
    assert max(len(runs) for runs in digests._runs) <= 8


def test_digest_that_ends_in_zeros_is_told_from_others() -> None:
    # NumPy compares byte strings as if zeros at their end were not there.
    rows = np.sort(np.array([b"a" * 15 + b"\0", b"a" * 14 + b"\0\0", b"b" * 16, b"\0" * 16], dtype="S16"))
    found = Counter(
        digest_set._holds(rows, digest) for digest in (b"a" * 15 + b"\0", b"a" * 14 + b"\0\0", b"b" * 16, b"\0" * 16)
    )
    assert found == {True: 4}
    assert not digest_set._holds(rows, b"a" * 16)
    assert not digest_set._holds(rows, b"c" * 16)
