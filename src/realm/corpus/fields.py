"""The fields of a record: taken out with their type checked, or refused with a word of why.

Read `document_of_fields` first: whatever brings a record, JSON, a table or Arrow, makes its document here.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Collection
from typing import Any

from realm.corpus.skips import BadRecord, SkipReport, shortened
from realm.records import Document

_INVISIBLE = {"Cc", "Cf", "Zl", "Zp", "Zs"}
"""Unicode's kinds of controls and spaces; some of width zero."""


MAX_LIST = 100
"""So many values of a list are metadata; a longer one is likely a vector."""


def document_of_fields(
    fields: dict[str, Any],
    place: str,
    default_id: str,
    *,
    report: SkipReport | None = None,
    text_column: str = "text",
) -> Document:
    """The document a record describes.

    Args:
        fields: `text`, and optionally `id` (text or whole number) and `title`; see `column_names`. Of the others,
            texts, numbers and truth values become metadata, and so do those in an object named `metadata`, and short
            lists of them, as JSON. Objects are left out, and nulls.
        place: Where the record stands, for people.
        default_id: The id, where the record brings none.
        report: Where fields that are left out are counted, as `dropped_field`.
        text_column: The name of what is to be read as `text`.

    Raises:
        BadRecord: A field is not what it must be.
    """
    names = column_names(fields, text_column)
    own = {meaning: fields[name] for meaning, name in names.items()}
    others = {name: value for name, value in fields.items() if name not in names.values()}
    return Document(
        id=record_id(own, default_id),
        title=optional_text(own, "title", "bad_title"),
        text=require_text(fields, names.get("text", text_column), "no_text"),
        source=place,
        metadata=_metadata(others, place, report),
    )


def column_names(names: Collection[str], text_column: str = "text") -> dict[str, str]:
    """Which names stand for `id`, `title` and `text`: those very words, or else the only ones in another case."""
    found = {}
    for meaning, name in (("id", "id"), ("title", "title"), ("text", text_column)):
        same = [name] if name in names else [one for one in names if one.lower() == name.lower()]
        if len(same) == 1:
            found[meaning] = same[0]
    return found


def _metadata(fields: dict[str, Any], place: str, report: SkipReport | None) -> dict[str, str]:
    nested = fields.get("metadata")
    if isinstance(nested, dict):
        own = {key: value for key, value in fields.items() if key != "metadata" and value is not None}
        fields = {**nested, **own}
    found = {}
    for key, value in fields.items():
        if isinstance(value, str | int | float):
            found[key] = _scalar(key, value)
        elif _is_short_list(value):
            found[key] = _scalar(key, json.dumps(value, ensure_ascii=False))
        elif value is not None and report is not None:
            what = f"metadata is of plain values and lists of up to {MAX_LIST} of them"
            report.add("dropped_field", f'{place}: "{shortened(key)}" is {kind_of(value)}; {what}')
    return found


def _is_short_list(value: Any) -> bool:
    if not isinstance(value, list) or len(value) > MAX_LIST:
        return False
    return all(one is None or isinstance(one, str | int | float) for one in value)


def _scalar(key: str, value: str | int | float) -> str:
    require_unicode(key, "a name", "bad_metadata")
    if isinstance(value, bool):
        return "true" if value else "false"
    return require_unicode(str(value), key, "bad_metadata")


def require_text(fields: dict[str, Any], key: str, reason: str) -> str:
    """The string under `key`, which must hold at least one visible character and be valid Unicode.

    Raises:
        BadRecord: It is missing, not a string, blank, or not what `require_unicode` lets pass; counted as `reason`.
    """
    value = fields.get(key)
    if not isinstance(value, str):
        found = "is missing" if key not in fields else f"is {kind_of(value)}"
        raise BadRecord(reason, f'"{key}" {found}; it must be a string')
    if is_blank(value):
        found = "holds no visible character" if value.strip() else "is empty"
        raise BadRecord(reason, f'"{key}" {found}; it must hold text')
    return require_unicode(value, key, reason)


def optional_text(fields: dict[str, Any], key: str, reason: str) -> str:
    """The string under `key`, or "" where it is missing or null."""
    value = fields.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRecord(reason, f'"{key}" is {kind_of(value)}; it must be a string')
    return require_unicode(value, key, reason)


def require_unicode(value: str, key: str, reason: str) -> str:
    """`value` itself.

    Raises:
        BadRecord: It has what JSON can spell and no text can hold: half of a surrogate pair, or the character 0, which
            `lines.decode` refuses as a byte.
    """
    zero = value.find("\0")
    if zero >= 0:
        raise BadRecord(reason, f'"{shortened(key)}" has the character U+0000 at {zero:,}; take it out')
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise BadRecord(reason, f'"{shortened(key)}" has half of a surrogate pair at character {exc.start}') from exc
    return value


def is_blank(text: str) -> bool:
    """Whether a text has no visible character."""
    return all(unicodedata.category(character) in _INVISIBLE for character in text)


def record_id(fields: dict[str, Any], default: str) -> str:
    """The `id` as a string; `default` where it is missing or null.

    Raises:
        BadRecord: It is neither a string nor a whole number, or it is blank.
    """
    value = fields.get("id")
    if value is None:
        return default
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise BadRecord("bad_id", f'"id" is {kind_of(value)}; it must be a string or a whole number')
    return require_text(fields, "id", "bad_id")


def kind_of(value: object) -> str:
    """What a JSON value is, in JSON's words."""
    if value is None:
        return "null"
    kinds = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    return kinds[type(value)]
