"""CRC-32C against published vectors and a bit-by-bit computation."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.interop.crc32c import crc32c, mask, unmask


def bit_by_bit(data: bytes) -> int:
    """Remainder of a polynomial division, one bit at a time, as the definition says."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"a", 0xC1D04330),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_crc32c_equals_the_vectors_of_rfc_3720(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected


@pytest.mark.parametrize("length", [1, 3, 4, 31, 32, 33, 255, 4095, 4096, 4097, 4099, 8192, 12289])
def test_crc32c_equals_bit_by_bit_division_around_every_border(length: int) -> None:
    data = random.Random(length).randbytes(length)
    assert crc32c(data) == bit_by_bit(data)


@pytest.mark.parametrize("length", [162_648, 162_653])
def test_crc32c_of_long_data_by_folding_equals_bit_by_bit_division(length: int) -> None:
    data = random.Random(length).randbytes(length)
    assert crc32c(data) == bit_by_bit(data)


def test_crc32c_of_many_folded_pieces_equals_the_same_bytes_given_in_small_ones() -> None:
    data = random.Random(1).randbytes((1 << 23) + 170_001)
    crc = 0
    for start in range(0, len(data), 100_000):
        crc = crc32c(data[start : start + 100_000], crc)
    assert crc32c(data) == crc


@given(st.binary(max_size=300), st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_crc32c_continues_where_it_left_off(first: bytes, second: bytes) -> None:
    assert crc32c(second, crc32c(first)) == crc32c(first + second)


def test_crc32c_does_not_change_an_array_it_reads() -> None:
    data = np.arange(250_000, dtype=np.uint8)
    before = data.copy()
    assert crc32c(data) == crc32c(before.tobytes())
    assert np.array_equal(data, before)


@given(st.integers(0, 2**32 - 1))
def test_unmask_undoes_mask(crc: int) -> None:
    assert unmask(mask(crc)) == crc
    assert 0 <= mask(crc) < 2**32


def test_mask_is_a_rotation_by_fifteen_plus_a_constant() -> None:
    crc = 0x12345678
    bits = f"{crc:032b}"
    rotated = int(bits[-15:] + bits[:-15], 2)
    assert mask(crc) == (rotated + 0xA282EAD8) % 2**32
