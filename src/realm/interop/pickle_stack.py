"""The stack, the marks and the memo of a pickle: the half of `array_pickle` that knows no meaning.

Nothing here looks up a name or calls anything. Reading past the end of the file is an IndexError, which
`array_pickle` turns into an error for the caller.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Callable
from typing import Any, Final

from realm.errors import SourceError

_LAST_PROTOCOL: Final = 5
_MAX_DEPTH: Final = 32
_MAX_LINE_BYTES: Final = 200
_SHORT_BINBYTES, _BINBYTES, _MEMOIZE, _LONG_BINPUT = b"CB\x94r"


class PickleStack:
    """State of a pickle that is being followed.

    Args:
        data: The file: indexing it gives numbers, slicing gives bytes.
        position: Where the pickle begins.
    """

    def __init__(self, data: mmap.mmap | bytes, position: int) -> None:
        self.data = data
        self.position = position
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        # The memo. A byte string is kept as its place in the file, other values (place 0) as themselves: 13
        # million memoised records then take 100 MB, not 13 GB.
        self.places = array("Q")
        self.values: dict[int, Any] = {}

    def take(self, count_bytes: int) -> bytes:
        """The next bytes of the file. One more must follow, as STOP is the last."""
        stop = self.position + count_bytes
        if stop >= len(self.data):
            raise IndexError
        taken = self.data[self.position : stop]
        self.position = stop
        return taken

    def take_number(self, count_bytes: int) -> int:
        """The next unsigned number."""
        return int.from_bytes(self.take(count_bytes), "little")

    def take_line(self) -> str:
        """The text up to the next line feed."""
        end = self.data.find(b"\n", self.position, self.position + _MAX_LINE_BYTES)
        if end < 0:
            raise SourceError(f"the pickle is cut off or damaged at byte {self.position}: a name does not end")
        line = self.take(end - self.position)
        self.position += 1
        return line.decode("utf-8", "replace")

    def check_protocol(self) -> None:
        """PROTO."""
        found = self.take_number(1)
        if not 2 <= found <= _LAST_PROTOCOL:
            raise SourceError(f"the pickle has protocol {found}; known are 2 to {_LAST_PROTOCOL}")

    def push_byte_strings(self) -> None:
        """Push the byte strings that follow one another, and memoise them. Nearly all time is spent here."""
        data, push, places = self.data, self.stack.append, self.places
        number = int.from_bytes
        position = self.position - 1
        while True:
            opcode = data[position]
            if opcode == _BINBYTES:
                start = position + 5
                stop = start + number(data[position + 1 : start], "little")
            elif opcode == _SHORT_BINBYTES:
                start = position + 2
                stop = start + data[position + 1]
            else:
                break
            follows = data[stop]  # before the string is copied, so that no length can fill the memory
            push(data[start:stop])
            if follows == _MEMOIZE:
                places.append(position)
                position = stop + 1
            elif follows == _LONG_BINPUT and number(data[stop + 1 : stop + 5], "little") == len(places):
                places.append(position)
                position = stop + 5
            else:
                position = stop
        self.position = position

    def push(self, value: Any) -> None:
        """Push a value."""
        self.stack.append(value)

    def push_text(self, length_bytes: int) -> None:
        """Push a string."""
        try:
            self.push(self.take(self.take_number(length_bytes)).decode("utf-8", "surrogatepass"))
        except UnicodeDecodeError as exc:
            raise SourceError(f"the pickle holds a damaged string before byte {self.position}") from exc

    def push_signed(self, count_bytes: int) -> None:
        """Push a two's complement number."""
        if count_bytes > 8:
            raise SourceError(f"the pickle holds a number of {count_bytes} bytes; at most 8 are read")
        self.push(int.from_bytes(self.take(count_bytes), "little", signed=True))

    def push_mark(self) -> None:
        """Set the stack aside until the tuple or batch that starts here is complete."""
        if len(self.marked) >= _MAX_DEPTH:
            raise SourceError("the pickle is nested too deeply for an array")
        self.marked.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        """Everything since the last mark."""
        items = self.stack
        self.stack = self.marked.pop()
        return items

    def push_tuple(self, count: int) -> None:
        """The last `count` values become one tuple."""
        self.push(tuple([self.stack.pop() for _ in range(count)][::-1]))

    def memoise(self, index: int) -> None:
        """Keep the last value under `index`, which must be the next one: every pickler counts so."""
        if index != len(self.places):
            raise SourceError(f"the pickle's memo jumps from {len(self.places)} to {index}; the file is damaged")
        self.values[index] = self.stack[-1]
        self.places.append(0)

    def recall(self, index: int) -> None:
        """Push what is kept under `index`. A byte string is read from its place again, once."""
        if index >= len(self.places):
            raise SourceError(f"the pickle recalls entry {index} of {len(self.places)}; the file is damaged")
        if place := self.places[index]:
            start = place + (2 if self.data[place] == _SHORT_BINBYTES else 5)
            length = int.from_bytes(self.data[place + 1 : start], "little")
            self.values[index] = self.data[start : start + length]
            self.places[index] = 0
        self.push(self.values[index])


RULES: Final[dict[int, Callable[[PickleStack], object]]] = {
    ord(code): rule
    for code, rule in {
        "\x80": PickleStack.check_protocol,
        "\x95": lambda stack: stack.take(8),  # FRAME: a hint for buffering
        "C": PickleStack.push_byte_strings,
        "B": PickleStack.push_byte_strings,
        "\x8e": lambda stack: stack.push(stack.take(stack.take_number(8))),
        "\x96": lambda stack: stack.push(stack.take(stack.take_number(8))),  # BYTEARRAY8; bytes serve as well
        "\x8c": lambda stack: stack.push_text(1),
        "X": lambda stack: stack.push_text(4),
        "\x8d": lambda stack: stack.push_text(8),
        "N": lambda stack: stack.push(None),
        "\x88": lambda stack: stack.push(True),
        "\x89": lambda stack: stack.push(False),
        "K": lambda stack: stack.push(stack.take_number(1)),
        "M": lambda stack: stack.push(stack.take_number(2)),
        "J": lambda stack: stack.push_signed(4),
        "\x8a": lambda stack: stack.push_signed(stack.take_number(1)),
        "(": PickleStack.push_mark,
        ")": lambda stack: stack.push(()),
        "\x85": lambda stack: stack.push_tuple(1),
        "\x86": lambda stack: stack.push_tuple(2),
        "\x87": lambda stack: stack.push_tuple(3),
        "t": lambda stack: stack.push(tuple(stack.pop_mark())),
        "q": lambda stack: stack.memoise(stack.take_number(1)),
        "r": lambda stack: stack.memoise(stack.take_number(4)),
        "\x94": lambda stack: stack.memoise(len(stack.places)),
        "h": lambda stack: stack.recall(stack.take_number(1)),
        "j": lambda stack: stack.recall(stack.take_number(4)),
    }.items()
}
"""What each opcode does that has no meaning beyond the stack."""
