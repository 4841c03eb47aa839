"""The fields of a record: taken out with their type checked, or refused with a word of why.

Read `document_of_fields` first: whatever brings a record, JSON, a table or Arrow, makes its document here.
"""

from __future__ import annotations

from typing import Any

from realm.corpus.skips import BadRecord, shortened
from realm.records import Document


def document_of_fields(fields: dict[str, Any], place: str, default_id: str) -> Document:
    """The document a record describes.

    Args:
        fields: `text`, and optionally `id` (text or whole number) and `title`. Of the others, texts, numbers and
            truth values become metadata; lists, objects and nulls are left out.
        place: Where the record stands, for people.
        default_id: The id, where the record brings none.

    Raises:
        BadRecord: A field is not what it must be.
    """
    return Document(
        id=record_id(fields, default_id),
        title=optional_text(fields, "title", "bad_title"),
        text=require_text(fields, "text", "no_text"),
        source=place,
        metadata={key: _scalar(key, value) for key, value in fields.items() if _is_metadata(key, value)},
    )


def _is_metadata(key: str, value: Any) -> bool:
    return key not in ("id", "title", "text") and isinstance(value, str | int | float)


def _scalar(key: str, value: str | int | float) -> str:
    require_unicode(key, "a name", "bad_metadata")
    if isinstance(value, bool):
        return "true" if value else "false"
    return require_unicode(str(value), key, "bad_metadata")


def require_text(fields: dict[str, Any], key: str, reason: str) -> str:
    """The string under `key`, which must hold at least one visible character and be valid Unicode.

    Raises:
        BadRecord: It is missing, not a string, blank, or has half of a surrogate pair; counted as `reason`.
    """
    value = fields.get(key)
    if not isinstance(value, str):
        found = "is missing" if key not in fields else f"is {kind_of(value)}"
        raise BadRecord(reason, f'"{key}" {found}; it must be a string')
    if not value or value.isspace():
        raise BadRecord(reason, f'"{key}" is empty; it must hold text')
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
    """`value` itself; JSON can spell half of a surrogate pair, which no file and no tokenizer can hold."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise BadRecord(reason, f'"{shortened(key)}" has half of a surrogate pair at character {exc.start}') from exc
    return value


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
