"""The pickle of one array of byte strings, followed without pickle: few opcodes, few names, no calls.

What a pickle calls a global is only a name here, and what it calls reduce is one of the rules of `_reduced`.
Anything else is refused by name. Knows no npy header; `legacy_records` puts the two together.

    opcodes -> stack: array | version, shape, dtype, order, records -> BUILD -> STOP
                                                               └── given out batch by batch, never kept
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from realm.errors import SourceError, UnsafeFileError
from realm.interop.pickle_stack import RULES, PickleStack

_RECONSTRUCT: Final = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
_BYTES: Final = ("builtins.bytes", "__builtin__.bytes")
_BYTEARRAY: Final = ("builtins.bytearray", "__builtin__.bytearray")
_NAMES: Final = frozenset((*_RECONSTRUCT, *_BYTES, *_BYTEARRAY, "numpy.ndarray", "numpy.dtype", "_codecs.encode"))
_APPEND, _APPENDS, _STOP = b"ae."


@dataclass(frozen=True, slots=True)
class _Name:
    """A global that the pickle names. It is never looked up."""

    text: str


class _Dtype:
    """numpy's dtype of Python objects, the only one there is here."""


@dataclass(slots=True)
class _Records:
    """The one list in the pickle of an array. Its items are given out and only counted here."""

    count: int = 0


@dataclass(slots=True)
class _Array:
    """The array. It is complete once its state is set."""

    complete: bool = False


class ArrayPickle(PickleStack):
    """Reader of one pickle: `batches` is the way in, the other methods are what single opcodes do."""

    records: _Records | None = None

    def batches(self) -> Iterator[list[bytes]]:
        """The records, in the batches in which they were written.

        Raises:
            UnsafeFileError: An opcode or a name beyond plain arrays; the message says which.
            SourceError: The pickle is cut off, damaged, or describes something else than a row of byte
                strings.
        """
        try:
            while (opcode := self.data[self.position]) != _STOP:
                self.position += 1
                if opcode in (_APPENDS, _APPEND):
                    yield self._appended(opcode)
                elif (own_rule := _OWN_RULES.get(opcode)) is not None:
                    own_rule(self)
                elif (rule := RULES.get(opcode)) is not None:
                    rule(self)
                else:
                    raise _refusal(opcode, self.position - 1)
            top = self.stack.pop()
        except IndexError as exc:
            raise SourceError(f"the pickle is cut off or damaged at byte {self.position}") from exc
        if not isinstance(top, _Array) or not top.complete or self.stack or self.marked:
            raise SourceError("the pickle holds something else than one whole array")

    def _appended(self, opcode: int) -> list[bytes]:
        items = self.pop_mark() if opcode == _APPENDS else [self.stack.pop()]
        if self.records is None or self.stack[-1] is not self.records:
            raise SourceError("the pickle appends to something else than the array's list of records")
        if other := set(map(type, items)) - {bytes}:
            names = sorted(kind.__name__.strip("_").lower() for kind in other)
            raise SourceError(f"a record is of type {names[0]}; expected bytes")
        self.records.count += len(items)
        return items

    def push_records(self) -> None:
        """EMPTY_LIST: the fifth part of the array's state. There is no other list."""
        in_state = bool(self.marked and self.marked[-1]) and isinstance(self.marked[-1][-1], _Array)
        if self.records is not None or not in_state or len(self.stack) != 4:
            raise SourceError("a record is of type list; expected bytes")
        self.records = _Records()
        self.push(self.records)

    def push_global(self) -> None:
        """GLOBAL: a name given as two lines."""
        module = self.take_line()
        self._push_name(module, self.take_line())

    def push_stack_global(self) -> None:
        """STACK_GLOBAL: a name given as two strings."""
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise SourceError("the pickle names a global by something else than strings; the file is damaged")
        self._push_name(module, name)

    def _push_name(self, module: str, name: str) -> None:
        text = f"{module}.{name}"
        if text not in _NAMES:
            raise _unsafe(f"the pickle asks for {ascii(text[:200])[1:-1]}")
        self.push(_Name(text))

    def refuse_instance(self) -> None:
        """INST: the old way to make an instance; it names its class."""
        raise _unsafe(f"the pickle makes an instance of {ascii(f'{self.take_line()}.{self.take_line()}')[1:-1]}")

    def reduce(self) -> None:
        """REDUCE: apply a name to its arguments, by our own rules and never by a call."""
        arguments, name = self.stack.pop(), self.stack.pop()
        if not isinstance(name, _Name) or not isinstance(arguments, tuple):
            raise _unsafe("the pickle calls something that is not a name")
        self.push(_reduced(name.text, arguments))

    def build(self) -> None:
        """BUILD: give the array, or its dtype, its state."""
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, _Array | _Dtype) or not isinstance(state, tuple):
            raise _unsafe("the pickle sets attributes of something else than an array")
        if isinstance(target, _Array):
            self._check_state(state)
            target.complete = True

    def _check_state(self, state: tuple[Any, ...]) -> None:
        if len(state) != 5 or not isinstance(state[2], _Dtype) or self.records is None or state[4] is not self.records:
            raise SourceError("the pickle holds an array of another kind; expected one of objects")
        shape = state[1]
        if not isinstance(shape, tuple) or len(shape) != 1 or type(shape[0]) is not int:
            raise SourceError("the pickle holds an array of another shape; expected one dimension")
        if shape[0] != self.records.count:
            raise SourceError(f"the pickle announces {shape[0]} records and holds {self.records.count}")


def _reduced(name: str, arguments: tuple[Any, ...]) -> Any:
    """What numpy's, and the codecs', functions would give for the arguments that plain arrays have."""
    kinds = tuple(type(argument) for argument in arguments)
    if name in _RECONSTRUCT and kinds == (_Name, tuple, bytes) and arguments[0].text == "numpy.ndarray":
        return _Array()
    if name == "numpy.dtype" and kinds in ((str, bool, bool), (str, int, int)):
        if arguments[0] not in ("O", "O8", "|O"):
            raise SourceError(f"the pickle holds an array of {arguments[0][:20]!a}; expected objects ('O8')")
        return _Dtype()
    if name in (*_BYTES, *_BYTEARRAY) and not arguments:
        return b""
    if name in _BYTEARRAY and kinds == (bytes,):
        return arguments[0]
    if name in ("_codecs.encode", *_BYTEARRAY) and kinds == (str, str) and arguments[1] in ("latin1", "latin-1"):
        try:
            return arguments[0].encode("latin-1")
        except UnicodeEncodeError as exc:
            raise SourceError("the pickle holds a byte string with characters beyond a byte; it is damaged") from exc
    raise _unsafe(f"the pickle calls {name} with arguments that plain arrays do not have")


def _refusal(opcode: int, position: int) -> SourceError | UnsafeFileError:
    from pickletools import opcodes  # only names for a message, and slow to load

    for known in opcodes:
        if known.code == chr(opcode):
            return _unsafe(f"the pickle uses {known.name} at byte {position}")
    return SourceError(f"byte {position} is {opcode:#04x}, which no pickle has there; the file is damaged")


def _unsafe(found: str) -> UnsafeFileError:
    return UnsafeFileError(f"{found}, which an array of records does not need. Nothing in the file has been run")


_OWN_RULES: Final[dict[int, Callable[[ArrayPickle], None]]] = {
    ord("]"): ArrayPickle.push_records,
    ord("c"): ArrayPickle.push_global,
    0x93: ArrayPickle.push_stack_global,
    ord("i"): ArrayPickle.refuse_instance,
    ord("R"): ArrayPickle.reduce,
    ord("b"): ArrayPickle.build,
}
