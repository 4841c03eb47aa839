"""Lists of strings as other people's tables spell them: `["a", "b"]` (JSON) or `['a', "b's"]` (Python).

Knows text only, and runs nothing: whatever is not a list of quoted strings is refused.
"""

from __future__ import annotations

import json
import re

_STRING = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_SHORT = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "r": "\r", "t": "\t"}
_SPACE = re.compile(r"\s*")


def parse_string_list(text: str) -> list[str]:
    """The strings of a list written in JSON or as Python's `repr` writes it.

    Args:
        text: The list, nothing before or behind it but white space.

    Raises:
        ValueError: It is anything else; the message names the character.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _python_list(text)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("it must be a list of strings")
    return value


def _python_list(text: str) -> list[str]:
    place = _after(text, _spaces(text, 0), "[")
    found: list[str] = []
    while text[place : place + 1] != "]":
        string = _STRING.match(text, place)
        if string is None:
            raise ValueError(f"character {place + 1} should begin a quoted string or end the list")
        found.append(_ESCAPE.sub(_unescape, string[1] if string[1] is not None else string[2]))
        place = _spaces(text, string.end())
        if text[place : place + 1] != "]":
            place = _after(text, place, ",")
    if _spaces(text, place + 1) != len(text):
        raise ValueError(f"character {_spaces(text, place + 1) + 1} should not be there: the list has ended")
    return found


def _after(text: str, place: int, sign: str) -> int:
    """Where the text goes on behind `sign`, which must stand at `place`, and white space."""
    if text[place : place + 1] != sign:
        raise ValueError(f'character {place + 1} should be "{sign}"')
    return _spaces(text, place + 1)


def _spaces(text: str, place: int) -> int:
    match = _SPACE.match(text, place)
    return place if match is None else match.end()


def _unescape(match: re.Match[str]) -> str:
    digits = match[1] or match[2] or match[3]
    if digits:
        number = int(digits, 16)
        if number > 0x10FFFF:
            raise ValueError(f"{match[0]} is no character")
        return chr(number)
    if match[4] not in _SHORT:
        raise ValueError(f"{match[0]} is no escape of a list of strings")
    return _SHORT[match[4]]
