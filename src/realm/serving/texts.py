"""Texts that requests bring: questions, filters, and what documents are made of. Knows no shapes and no server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, StringConstraints, Tag
from pydantic_core import PydanticCustomError

from realm.corpus.fields import optional_text, require_text
from realm.corpus.skips import BadRecord
from realm.serving import limits


def _filled(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("empty_filter", "it is empty. Leave it out to have all documents")
    return text


def _as_in_files(name: str, check: Callable[[dict[str, Any], str, str], str]) -> AfterValidator:
    """What holds for a field of a record that `realm index` reads."""

    def checked(text: str) -> str:
        try:
            return check({name: text}, name, "bad_field")
        except BadRecord as exc:
            raise PydanticCustomError("bad_field", "{problem}", {"problem": exc.problem}) from exc

    return AfterValidator(checked)


def _addressable(text: str) -> str:
    if text in (".", ".."):
        raise PydanticCustomError("bad_id", "no address can end with it. Give another id")
    if text != text.strip():
        raise PydanticCustomError("bad_id", "there is a space before or after it. Leave that out")
    return text


QuestionText = Annotated[str, StringConstraints(min_length=1, max_length=limits.MAX_QUESTION_CHARACTERS)]
QuestionList = Annotated[list[QuestionText], Field(min_length=1, max_length=limits.MAX_QUESTIONS)]
# The tags keep messages to the one of the two that was meant.
OneOrSeveral = Annotated[
    Annotated[QuestionText, Tag("text")] | Annotated[QuestionList, Tag("list")],
    Discriminator(lambda value: "list" if isinstance(value, list) else "text"),
]
FilterText = Annotated[str, StringConstraints(max_length=limits.MAX_FILTER_CHARACTERS), AfterValidator(_filled)]
IdText = Annotated[str, StringConstraints(min_length=1, max_length=limits.MAX_ID_CHARACTERS, pattern=r"\S")]
NewIdText = Annotated[
    str,
    StringConstraints(min_length=1, max_length=limits.MAX_ID_CHARACTERS),
    _as_in_files("id", require_text),
    AfterValidator(_addressable),
]
"""Of a document that is to be found again at the address of its id."""
DocumentText = Annotated[str, StringConstraints(min_length=1), _as_in_files("text", require_text)]
FieldText = Annotated[str, _as_in_files("value", optional_text)]
"""What else a document has."""
