"""tf.Example messages against bytes written out by hand, and back again."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.errors import SourceError, UsageError
from realm.interop.tfexample import Feature, parse_example, serialise_example

# {"ids": int64 [1, 300, -1]} and {"t": bytes [b"x"]}, byte by byte.
MINUS_ONE = b"\xff" * 9 + b"\x01"
PACKED = b"\x0a\x0d" + b"\x01\xac\x02" + MINUS_ONE
UNPACKED = b"\x08\x01" + b"\x08\xac\x02" + b"\x08" + MINUS_ONE
TEXT_ENTRY = b"\x0a\x0a" + b"\x0a\x01t" + b"\x12\x05" + b"\x0a\x03" + b"\x0a\x01x"


def field(number: int, value: bytes) -> bytes:
    assert len(value) < 128
    return bytes([number << 3 | 2, len(value)]) + value


def example(*entries: bytes) -> bytes:
    return field(1, b"".join(entries))


def int_entry(name: bytes, values: bytes) -> bytes:
    return field(1, field(1, name) + field(2, field(3, values)))


def as_lists(features: dict[str, Feature]) -> dict[str, tuple[str, list[object]]]:
    """Kind and values of every feature, comparable with ==."""
    return {
        name: ("bytes" if isinstance(values, list) else str(values.dtype), list(values))
        for name, values in features.items()
    }


@pytest.mark.parametrize("values", [PACKED, UNPACKED, UNPACKED[:2] + b"\x0a\x02\xac\x02" + UNPACKED[-11:]])
def test_integers_are_read_packed_unpacked_and_mixed(values: bytes) -> None:
    ids = parse_example(example(int_entry(b"ids", values)))["ids"]
    assert isinstance(ids, np.ndarray)
    assert ids.dtype == np.int64
    assert ids.tolist() == [1, 300, -1]


def test_a_message_has_the_bytes_that_tensorflow_writes() -> None:
    golden = b"\n&\n\x18\n\x03ids\x12\x11\x1a\x0f" + PACKED + b"\n\n\n\x01t\x12\x05\n\x03\n\x01x"
    assert serialise_example({"t": [b"x"], "ids": [1, 300, -1]}) == golden


def test_bytes_are_read_from_a_message_written_by_hand() -> None:
    assert parse_example(b"\x0a\x0c" + TEXT_ENTRY) == {"t": [b"x"]}
    assert serialise_example({"t": [b"x"]}) == b"\x0a\x0c" + TEXT_ENTRY


@pytest.mark.parametrize(
    "values", [b"\x0a\x08\x00\x00\x80\x3f\x00\x00\x00\xc0", b"\x0d\x00\x00\x80\x3f\x0d\x00\x00\x00\xc0"]
)
def test_floats_are_read_packed_and_unpacked(values: bytes) -> None:
    floats = parse_example(example(field(1, field(1, b"f") + field(2, field(2, values)))))["f"]
    assert isinstance(floats, np.ndarray)
    assert floats.dtype == np.float32
    assert floats.tolist() == [1.0, -2.0]


def test_of_two_features_with_one_name_the_last_counts() -> None:
    first, last = int_entry(b"a", b"\x08\x01"), int_entry(b"a", b"\x08\x02")
    assert as_lists(parse_example(example(first, last))) == {"a": ("int64", [2])}


def test_the_parts_of_a_split_feature_merge() -> None:
    halves = field(2, field(3, b"\x08\x01")) + field(2, field(3, b"\x08\x02"))
    assert as_lists(parse_example(example(field(1, field(1, b"a") + halves)))) == {"a": ("int64", [1, 2])}


def test_fields_that_tf_example_does_not_have_are_passed_over() -> None:
    unknown = b"\x48\x07" + field(10, b"zz")
    data = unknown + field(1, unknown + field(1, unknown + field(1, b"a") + field(2, field(3, b"\x08\x05"))))
    assert as_lists(parse_example(data)) == {"a": ("int64", [5])}


def test_an_empty_message_has_no_features_and_a_feature_without_a_kind_no_values() -> None:
    assert parse_example(b"") == {}
    assert parse_example(example(field(1, field(1, b"a") + field(2, b"")))) == {"a": []}
    assert parse_example(serialise_example({"a": []})) == {"a": []}


def test_an_empty_array_keeps_its_kind() -> None:
    features = {"f": np.empty(0, np.float32), "i": np.empty(0, np.int64)}
    assert as_lists(parse_example(serialise_example(features))) == {"f": ("float32", []), "i": ("int64", [])}


@given(
    st.dictionaries(
        st.text("aé漢\x00", max_size=4),
        st.one_of(
            st.lists(st.binary(max_size=150), min_size=1, max_size=5),
            st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40).map(lambda v: np.array(v, np.int64)),
            st.lists(st.floats(width=32, allow_nan=False), max_size=10).map(lambda v: np.array(v, np.float32)),
        ),
        max_size=5,
    )
)
@settings(max_examples=60)
def test_what_is_serialised_comes_back(features: dict[str, Feature]) -> None:
    assert as_lists(parse_example(serialise_example(features))) == as_lists(features)


@given(st.lists(st.integers(0, 2**63 - 1), max_size=60))
def test_long_lists_are_decoded_as_number_by_number(numbers: list[int]) -> None:
    packed = serialise_example({"a": np.array(numbers, np.int64)})
    one_by_one = serialise_example({"a": np.array([*numbers, -1], np.int64)})  # a negative number takes the other way
    assert parse_example(packed)["a"].tolist() == parse_example(one_by_one)["a"].tolist()[:-1] == numbers  # type: ignore[union-attr]


def test_equal_features_give_equal_bytes_in_whatever_order() -> None:
    assert serialise_example({"a": [1], "b": [b"x"]}) == serialise_example({"b": [b"x"], "a": [1]})


def test_a_message_cut_off_anywhere_is_an_error_or_has_fewer_fields() -> None:
    data = serialise_example({"ids": [1, 2, 300], "text": [b"abc", b""], "weights": [0.5]})
    assert data[1] < 128
    for length in range(1, len(data)):
        with pytest.raises(SourceError):
            parse_example(data[:length])


@given(st.binary(max_size=60))
def test_any_bytes_parse_or_are_an_error_of_ours(data: bytes) -> None:
    with contextlib.suppress(SourceError):
        parse_example(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x08\x01", "number where Features"),
        (example(field(1, field(1, b"\xff\xfe"))), "not UTF-8"),
        (example(int_entry(b"a", b"\x0a\x02\x80\x80")), "end inside a number"),
        (serialise_example({"a": [1] * 99})[:-1] + b"\x80", "ends inside a number"),
        (
            example(field(1, field(1, b"f") + field(2, field(2, b"\x0a\x03abc")))),
            "3 bytes, expected a multiple of 4",
        ),
    ],
)
def test_what_is_not_a_tf_example_is_an_error_that_says_why(data: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        parse_example(data)


@pytest.mark.parametrize("values", [b"text", "text"])
def test_one_value_instead_of_a_list_is_the_callers_mistake(values: object) -> None:
    with pytest.raises(UsageError, match="expected a list"):
        serialise_example({"a": values})  # type: ignore[dict-item]


@pytest.mark.parametrize("values", [["a"], [True], [2**63], [b"a", 1]])
def test_values_of_another_type_are_the_callers_mistake(values: list[object]) -> None:
    with pytest.raises(UsageError, match="expected only bytes"):
        serialise_example({"a": values})  # type: ignore[dict-item]
