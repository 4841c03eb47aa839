"""Protocol buffer fields against hand-written bytes, and every way in which they can be cut off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.errors import SourceError
from realm.interop.wire import (
    bytes_field,
    fixed32_field,
    iterate_fields,
    read_varint,
    signed,
    varint_field,
    write_varint,
)


@pytest.mark.parametrize(
    ("number", "data"),
    [
        (0, b"\x00"),
        (1, b"\x01"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (300, b"\xac\x02"),
        (2**63, b"\x80" * 9 + b"\x01"),
        (2**64 - 1, b"\xff" * 9 + b"\x01"),
    ],
)
def test_a_varint_has_seven_bits_a_byte_lowest_first(number: int, data: bytes) -> None:
    assert write_varint(number) == data
    assert read_varint(b"?" + data + b"?", 1) == (number, 1 + len(data))


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_signed_number_comes_back_and_a_negative_one_takes_ten_bytes(number: int) -> None:
    data = write_varint(number)
    assert signed(read_varint(data, 0)[0]) == number
    assert (len(data) == 10) == (number < 0)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 9])
def test_a_varint_that_is_cut_off_is_an_error(data: bytes) -> None:
    with pytest.raises(SourceError, match="end inside a number"):
        read_varint(data, 0)


@pytest.mark.parametrize("data", [b"\xff" * 10, b"\xff" * 9 + b"\x02", b"\x80" * 11])
def test_a_varint_of_more_than_64_bits_is_an_error(data: bytes) -> None:
    with pytest.raises(SourceError, match="more than 64 bits"):
        read_varint(data, 0)


def test_fields_are_given_in_order_with_the_bytes_of_every_wire_type() -> None:
    message = b"\x08\x96\x01" + b"\x12\x02hi" + b"\x1d\x01\x02\x03\x04" + b"\x21" + bytes(8)
    assert list(iterate_fields(message)) == [(1, 150), (2, b"hi"), (3, b"\x01\x02\x03\x04"), (4, bytes(8))]
    written = varint_field(1, 150) + bytes_field(2, b"hi") + fixed32_field(3, 0x04030201)
    assert message.startswith(written)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x00\x01", "number 0"),
        (b"\x0b", "wire type 3"),
        (b"\x0f", "wire type 7"),
        (b"\x12\x05abc", "needs 5 bytes, 3 are left"),
        (b"\x12" + b"\xff" * 9 + b"\x01", "needs 18446744073709551615 bytes"),
        (b"\x1d\x01\x02", "needs 4 bytes, 2 are left"),
        (b"\x08", "end inside a number"),
    ],
)
def test_a_broken_field_is_an_error_that_says_where(data: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        list(iterate_fields(data))
