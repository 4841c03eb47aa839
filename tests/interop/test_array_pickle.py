"""Pickles of arrays: those of numpy are read; hostile ones are refused by name, and nothing is run."""

from __future__ import annotations

import builtins
import contextlib
import operator
import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.errors import SourceError, UnsafeFileError
from realm.interop.array_pickle import ArrayPickle

# np.save of [b"one", b""] by numpy 1.26 and by numpy 2.4, after the header.
NUMPY_1 = (
    b"\x80\x03cnumpy.core.multiarray\n_reconstruct\nq\x00cnumpy\nndarray\nq\x01K\x00\x85q\x02C\x01bq\x03\x87q\x04Rq\x05"
    b"(K\x01K\x02\x85q\x06cnumpy\ndtype\nq\x07X\x02\x00\x00\x00O8q\x08\x89\x88\x87q\tRq\n(K\x03X\x01\x00\x00\x00|q\x0bNNNJ"
    b"\xff\xff\xff\xffJ\xff\xff\xff\xffK?tq\x0cb\x89]q\r(C\x03oneq\x0eC\x00q\x0fetq\x10b."
)
NUMPY_2 = (
    b"\x80\x04\x95\x93\x00\x00\x00\x00\x00\x00\x00\x8c\x16numpy._core.multiarray\x94\x8c\x0c_reconstruct\x94\x93\x94\x8c"
    b"\x05numpy\x94\x8c\x07ndarray\x94\x93\x94K\x00\x85\x94C\x01b\x94\x87\x94R\x94(K\x01K\x02\x85\x94h\x03\x8c\x05dtype\x94"
    b"\x93\x94\x8c\x02O8\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01|\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?t\x94b\x89]\x94"
    b"(C\x03one\x94C\x00\x94et\x94b."
)
HEAD, TAIL = NUMPY_1[: NUMPY_1.index(b"]q\r") + 3], b"tq\x10b."  # up to the empty list, and after its records


def read(body: bytes) -> list[bytes]:
    return [record for batch in ArrayPickle(body, 0).batches() for record in batch]


def object_array(records: list[Any]) -> np.ndarray[Any, Any]:
    array = np.empty(len(records), dtype=object)
    array[:] = records
    return array


@pytest.mark.parametrize("body", [NUMPY_1, NUMPY_2], ids=["numpy 1", "numpy 2"])
def test_pickles_of_numpy_1_and_2_are_read(body: bytes) -> None:
    assert read(body) == [b"one", b""]


# ------------------------------------------------------------------------------------------ hostile files


class Calls:
    """Pickled as a call of `function`; unpickling makes it."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, state: Any = None) -> None:
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.parts


def refusal(body: bytes) -> str:
    """The message with which a pickle is refused."""
    with pytest.raises(UnsafeFileError, match="Nothing in the file has been run") as caught:
        read(body)
    return str(caught.value)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("place", ["whole", "record", "argument"])
@pytest.mark.parametrize(
    ("function", "argument", "name"),
    [
        (os.system, "touch {}/ran", r"(posix|nt)\.system"),
        (os.mkdir, "{}/ran", r"(posix|nt)\.mkdir"),
        (builtins.eval, "open('{}/ran', 'w')", r"(builtins|__builtin__)\.eval"),
        (builtins.exec, "open('{}/ran', 'w')", r"(builtins|__builtin__)\.exec"),
        (builtins.getattr, "{}", r"(builtins|__builtin__)\.getattr"),
        (operator.attrgetter, "{}", r"operator\.attrgetter"),
        (partial, "{}", r"functools\.partial"),
        (np.load, "{}", r"numpy\.load"),
        (OrderedDict, "", r"collections\.OrderedDict"),
    ],
)
def test_a_pickle_that_calls_is_refused_by_the_name_of_what_it_calls(
    tmp_path: Path, protocol: int, place: str, function: Callable[..., Any], argument: str, name: str
) -> None:
    arguments = (argument.format(tmp_path),) if argument else ()
    call = Calls(function, *arguments)
    hostile = {"whole": call, "record": object_array([b"a", call]), "argument": Calls(bytearray, call)}[place]
    assert re.search(f"asks for {name}, which", refusal(pickle.dumps(hostile, protocol)))
    assert os.listdir(tmp_path) == []


class Plain:
    """An ordinary object, pickled with its attributes."""

    def __init__(self) -> None:
        self.a = 1


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_an_object_with_attributes_is_refused(protocol: int) -> None:
    message = refusal(pickle.dumps(object_array([b"a", Plain()]), protocol))
    assert "copy_reg" in message or "test_array_pickle.Plain" in message


UNSAFE: dict[str, tuple[bytes, str]] = {
    "a global in two lines": (b"\x80\x03cos\nsystem\n.", "asks for os.system"),
    "the oldest protocol": (b"cos\nsystem\n(S'touch ran'\ntR.", "asks for os.system"),
    "a dotted name": (b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93.", "asks for numpy.dtype.__init__"),
    "a name with line feeds": (
        b"\x80\x04\x8c\x05numpy\x8c\x08dtype\n#\x00\x93.",
        r"asks for numpy.dtype\\n#\\x00,",
    ),
    "a long name": (b"\x80\x04\x8c\x02os\x8c\xff" + b"x" * 255 + b"\x93.", "asks for os.xxx"),
    "an old instance": (b"\x80\x02(ios\nsystem\n.", "makes an instance of os.system"),
    "an object from the stack": (b"\x80\x02(cnumpy\ndtype\no.", "uses OBJ at byte"),
    "a new object": (b"\x80\x02cnumpy\ndtype\n)\x81.", "uses NEWOBJ at byte"),
    "a new object with keywords": (b"\x80\x04cnumpy\ndtype\n)}\x92.", "uses EMPTY_DICT at byte"),
    "extension 1": (b"\x80\x02\x82\x01.", "uses EXT1 at byte"),
    "a persistent id": (b"\x80\x02Pid\n.", "uses PERSID at byte"),
    "a buffer from outside": (b"\x80\x05\x97.", "uses NEXT_BUFFER at byte"),
    "a dictionary": (HEAD + b"(}e" + TAIL, "uses EMPTY_DICT at byte"),
    "a huge number": (b"\x80\x02\x8b\xff\xff\xff\x7f.", "uses LONG4 at byte"),
    "a call of what is no name": (b"\x80\x03K\x01)R.", "calls something that is not a name"),
    "a call without a tuple": (b"\x80\x03cnumpy\ndtype\nK\x01R.", "calls something that is not a name"),
    "a call of a result": (b"\x80\x03cbuiltins\nbytes\n)R)R.", "calls something that is not a name"),
    "a state for a name": (b"\x80\x03cnumpy\ndtype\n)b.", "sets attributes of something else"),
    "a state for bytes": (b"\x80\x03C\x01a)b.", "sets attributes of something else"),
    "a state that is a name": (
        NUMPY_1[: NUMPY_1.index(b"(K\x01")] + b"cnumpy\ndtype\nb.",
        "sets attributes of",
    ),
    "bytes of an enormous number": (
        b"\x80\x03cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R.",
        "calls builtins.bytes with",
    ),
    "another codec": (
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00rot\x86R.",
        "_codecs.encode with",
    ),
    "another class of array": (
        NUMPY_1.replace(b"cnumpy\nndarray\nq\x01", b"cnumpy\ndtype\nq\x01"),
        "calls numpy.core.multiarray._reconstruct with",
    ),
    "a dtype of names": (b"\x80\x03cnumpy\ndtype\ncnumpy\nndarray\n\x89\x88\x87R.", "calls numpy.dtype with"),
    "a memoised name": (b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94h\x00h\x01\x93.", "asks for os.system"),
    "a name put together by the memo": (
        b"\x80\x04\x8c\x06system\x94\x8c\x02osh\x00\x93.",
        "asks for os.system",
    ),
}


@pytest.mark.parametrize(("body", "message"), UNSAFE.values(), ids=UNSAFE)
def test_what_no_array_needs_is_refused_and_named(body: bytes, message: str) -> None:
    assert re.search(message, refusal(body))


# ------------------------------------------------------------------------------------------ broken files

BROKEN: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "cut off"),
    "only the end": (b".", "cut off"),
    "an unknown protocol": (b"\x80\x06.", "protocol 6; known are 2 to 5"),
    "no opcode": (b"\x80\x03\xfe.", "0xfe, which no pickle has there"),
    "a pickle of bytes alone": (b"\x80\x03C\x01a.", "something else than one whole array"),
    "an array without state": (
        NUMPY_1[: NUMPY_1.index(b"(K\x01")] + b".",
        "something else than one whole array",
    ),
    "two values": (b"\x80\x03K\x01" + NUMPY_1[2:], "something else than one whole array"),
    "an open mark": (b"\x80\x03(" + NUMPY_1[2:], "something else than one whole array"),
    "too many marks": (b"\x80\x03" + b"(" * 1000 + b".", "nested too deeply"),
    "a huge byte string": (HEAD + b"(B" + b"\xff" * 4 + b"ae" + TAIL, "cut off or damaged"),
    "a huge byte string of 8 bytes length": (HEAD + b"(\x8e" + b"\xff" * 8 + b"ae" + TAIL, "cut off or damaged"),
    "a huge bytearray": (HEAD + b"(\x96" + b"\xff" * 8 + b"ae" + TAIL, "cut off or damaged"),
    "a huge text": (HEAD + b"(X" + b"\xff" * 4 + b"ae" + TAIL, "cut off or damaged"),
    "a huge text of 8 bytes length": (HEAD + b"(\x8d" + b"\xff" * 8 + b"ae" + TAIL, "cut off or damaged"),
    "a wide number": (b"\x80\x03\x8a\xff" + b"\x01" * 255 + b".", "a number of 255 bytes"),
    "a name without end": (b"\x80\x03c" + b"x" * 5000, "a name does not end"),
    "a damaged text": (b"\x80\x03X\x01\x00\x00\x00\xff.", "damaged string"),
    "a global of numbers": (b"\x80\x04K\x01K\x02\x93.", "names a global by something else"),
    "a memo entry that is not there": (HEAD + b"(h\x63e" + TAIL, "recalls entry 99 of 14"),
    "a far memo entry": (HEAD + b"(j" + b"\xff" * 4 + b"e" + TAIL, "recalls entry 4294967295 of 14"),
    "a memo that jumps": (HEAD + b"(C\x01ar" + b"\xff" * 4 + b"e" + TAIL, "jumps from 14 to 4294967295"),
    "a memo that overwrites": (HEAD + b"(C\x01aq\x00e" + TAIL, "jumps from 14 to 0"),
    "a list that holds itself": (HEAD + b"(h\x0de" + TAIL, "a record is of type records"),
    "an array that holds itself": (HEAD + b"(h\x05e" + TAIL, "a record is of type array"),
    "a name as record": (HEAD + b"(h\x00e" + TAIL, "a record is of type name"),
    "a text as record": (
        HEAD + b"(X\x01\x00\x00\x00aC\x01be" + TAIL,
        "a record is of type str; expected bytes",
    ),
    "None as record": (HEAD + b"Na" + TAIL, "a record is of type nonetype; expected bytes"),
    "a list as record": (HEAD + b"(]e" + TAIL, "a record is of type list; expected bytes"),
    "an append to a tuple": (b"\x80\x03)C\x01aa.", "appends to something else"),
    "an append to another list": (HEAD + b"C\x01aC\x01ba" + TAIL, "appends to something else"),
    "a list outside of the state": (b"\x80\x03].", "a record is of type list"),
    "too few records": (NUMPY_1.replace(b"K\x02\x85", b"K\x03\x85"), "announces 3 records and holds 2"),
    "two dimensions": (NUMPY_1.replace(b"K\x02\x85", b"K\x02K\x01\x86"), "another shape"),
    "a shape of texts": (NUMPY_1.replace(b"K\x02\x85", b"h\x03\x85"), "another shape"),
    "an array of numbers": (NUMPY_1.replace(b"O8", b"f8"), "an array of 'f8'; expected objects"),
    "a short state": (HEAD[: HEAD.index(b"K\x02")] + b"tb.", "an array of another kind"),
}


@pytest.mark.parametrize(("body", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_pickle_is_an_error_that_says_what_is_wrong(body: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read(body)


def test_an_array_inside_the_array_is_an_error() -> None:
    for inner in (object_array([b"a"]), np.zeros(2), np.array([b"ab"])):
        outer = object_array([b"a", None])
        outer[1] = inner
        with pytest.raises(SourceError, match=r"type list; expected bytes|expected objects|of type array"):
            read(pickle.dumps(outer, 4))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_cut_off_anywhere_is_an_error(protocol: int) -> None:
    body = pickle.dumps(object_array([b"one", b"", b"t" * 300, b"one"]), protocol)
    for length in range(len(body)):
        with pytest.raises(SourceError):
            read(body[:length])


@pytest.mark.parametrize("body", [NUMPY_1, NUMPY_2], ids=["numpy 1", "numpy 2"])
def test_a_changed_byte_gives_two_byte_strings_or_an_error_of_ours(body: bytes) -> None:
    for place in range(len(body)):
        for change in (1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80, 0xFF):
            changed = body[:place] + bytes([body[place] ^ change]) + body[place + 1 :]
            with contextlib.suppress(SourceError, UnsafeFileError):
                assert [type(record) for record in read(changed)] == [bytes, bytes]


@given(st.binary(max_size=80))
@settings(max_examples=300)
def test_any_bytes_after_a_good_beginning_are_an_error_of_ours(tail: bytes) -> None:
    with pytest.raises((SourceError, UnsafeFileError)):
        read(HEAD + tail)
