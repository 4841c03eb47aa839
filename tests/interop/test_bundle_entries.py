"""Entries of a checkpoint's index against bytes that TensorFlow wrote."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.errors import SourceError
from realm.interop.bundle_entries import (
    DTYPES,
    Entry,
    Header,
    Slice,
    ordered_slices,
    parse_entry,
    parse_header,
    serialise_entry,
    serialise_header,
    slice_key,
)

# From checkpoints saved by TensorFlow 2.21: float32 (2, 3); float32 (0, 2); int64 scalar; uint8 (200, 2) in two slices.
GOLDEN = {
    b"\x08\x01\x12\x08\x12\x02\x08\x02\x12\x02\x08\x03 \x0c(\x185z\xeb\xf5\xab": Entry(
        1, (2, 3), 0, 12, 24, 0xABF5EB7A
    ),
    b"\x08\x01\x12\x06\x12\x00\x12\x02\x08\x02 $5\xd8\xea\x82\xa2": Entry(1, (0, 2), 0, 36, 0, 0xA282EAD8),
    b"\x08\t\x12\x00 $(\x085\xbb\xd7\x9f\x11": Entry(9, (), 0, 36, 8, 0x119FD7BB),
    b"\x08\x04\x12\t\x12\x03\x08\xc8\x01\x12\x02\x08\x02"
    b":\x08\n\x02\x10d\n\x02\x10\x02:\n\n\x04\x08d\x10d\n\x02\x10\x02": Entry(
        4, (200, 2), slices=(((0, 100), (0, 2)), ((100, 100), (0, 2)))
    ),
}
axes = st.none() | st.tuples(st.integers(0, 2**40), st.integers(0, 2**40))


@pytest.mark.parametrize(("data", "entry"), GOLDEN.items())
def test_tensorflows_entries_are_read_and_written_to_the_byte(data: bytes, entry: Entry) -> None:
    assert parse_entry(data) == entry
    assert serialise_entry(entry) == data


def test_tensorflows_header_is_read_and_written_to_the_byte() -> None:
    assert parse_header(b"\x08\x01\x1a\x02\x08\x01") == Header(1)
    assert serialise_header(Header(1)) == b"\x08\x01\x1a\x02\x08\x01"
    assert parse_header(b"\x08\x03\x10\x01\x1a\x04\x08\x01\x10\x05") == Header(3, big_endian=True, least_consumer=5)


def test_the_keys_of_slices_are_those_of_tensorflow() -> None:
    assert slice_key("p", ((0, 100), (0, 2))) == b"\x00p\x00\x01\x01\x02\x80\xc0d\x80\x82"
    assert slice_key("p", ((100, 100), None)) == b"\x00p\x00\x01\x01\x02\xc0d\xc0d\x80\x7f"


@given(st.lists(st.tuples(st.integers(0, 2**62), st.integers(-1, 2**62)), min_size=2, max_size=6))
def test_the_keys_of_slices_sort_as_their_numbers_do(extents: list[tuple[int, int]]) -> None:
    assert sorted(extents) == sorted(extents, key=lambda extent: slice_key("p", (extent,)))


@given(
    st.builds(
        Entry,
        st.sampled_from(sorted(DTYPES)),
        st.lists(st.integers(0, 2**40), max_size=4).map(tuple),
        st.integers(0, 99),
        st.integers(0, 2**60),
        st.integers(0, 2**60),
        st.integers(0, 2**32 - 1),
        st.lists(st.lists(axes, min_size=1, max_size=3).map(tuple), max_size=3).map(tuple),
    )
)
@settings(max_examples=50)
def test_any_entry_comes_back(entry: Entry) -> None:
    assert parse_entry(serialise_entry(entry)) == entry


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x20" + b"\xff" * 9 + b"\x01", "negative"),
        (b"\x12\x0d\x12\x0b\x08" + b"\xff" * 9 + b"\x01", "negative"),
        (b"\x10\x01", "number where a message"),
        (b"\x30\x01", "number where a message"),
        (b"\x38\x01", "number where a message"),
        (b"\x12\x05\x12", "needs 5 bytes"),
    ],
)
def test_a_broken_entry_is_an_error(data: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        parse_entry(data)


def sliced(*slices: Slice) -> tuple[Entry, dict[bytes, Entry]]:
    """A variable of 5 x 4 and an entry for each slice."""
    whole = Entry(1, (5, 4), slices=slices)
    shapes = (tuple(extent[1] if extent else 4 for extent in part) for part in slices)
    return whole, {slice_key("v", part): Entry(1, shape) for part, shape in zip(slices, shapes, strict=True)}


def test_slices_are_put_in_order_along_the_axis_that_is_cut() -> None:
    whole, entries = sliced(((2, 3), None), ((0, 2), (0, 4)))
    axis, parts = ordered_slices("v", whole, entries)
    assert (axis, [part.shape for part in parts]) == (0, [(2, 4), (3, 4)])
    whole, entries = sliced(((0, 5), (0, 1)), ((0, 5), (1, 3)))
    axis, parts = ordered_slices("v", whole, entries)
    assert (axis, [part.shape for part in parts]) == (1, [(5, 1), (5, 3)])


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        ((((0, 2), None), ((3, 2), None)), "starts at 2 of 5 is not there"),
        ((((0, 3), None), ((2, 3), None)), "starts at 3 of 5 is not there"),
        ((((1, 4), None),), "starts at 0 of 5 is not there"),
        ((((0, 2), None), ((2, 2), None)), "end at 4 of 5"),
        ((((0, 2), None), ((2, 4), None)), "end at 6 of 5"),
        ((((0, 2), (0, 2)), ((2, 3), (0, 2))), "cut along 2 axes"),
        ((((0, 5),),), "another number of axes"),
    ],
)
def test_slices_that_do_not_make_up_the_variable_are_an_error(slices: tuple[Slice, ...], message: str) -> None:
    whole, entries = sliced(*slices)
    with pytest.raises(SourceError, match=message):
        ordered_slices("v", whole, entries)


def test_a_slice_without_entry_or_with_one_of_another_type_is_an_error() -> None:
    whole, entries = sliced(((0, 2), None), ((2, 3), None))
    key = slice_key("v", ((2, 3), None))
    for others in ({}, {key: Entry(2, (3, 4))}, {key: Entry(1, (4, 3))}, {key: Entry(1, (3, 4), slices=whole.slices)}):
        with pytest.raises(SourceError, match="starts at 2 of 5 is not there"):
            ordered_slices("v", whole, {name: entry for name, entry in entries.items() if name != key} | others)
