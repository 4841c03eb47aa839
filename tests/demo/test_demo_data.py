"""The built-in demo data holds what its folder promises; read as package data, as an installation has it."""

import json
import re
import unicodedata
from importlib.resources import files
from typing import Any

import pytest

DOCUMENTS = "documents.jsonl"
QUESTIONS = "questions.jsonl"
MORE_QUESTIONS = "more_questions.jsonl"


def raw_bytes(name: str) -> bytes:
    """The bytes of one data file."""
    return files("realm.demo").joinpath(name).read_bytes()


def rows(name: str) -> list[dict[str, Any]]:
    """The records of one data file, in order."""
    return [json.loads(line) for line in raw_bytes(name).decode("utf-8").splitlines()]


def all_questions() -> list[dict[str, Any]]:
    """The demo questions followed by the further ones."""
    return rows(QUESTIONS) + rows(MORE_QUESTIONS)


def stands_in(span: str, text: str) -> bool:
    """Whether `span` occurs in `text` verbatim and is not part of a longer word or number."""
    return re.search(rf"(?<![\w,.]){re.escape(span)}(?!\w|[,.]\d)", text) is not None


def plain(text: str) -> str:
    """Lower-case words of a text, joined by single spaces."""
    return " ".join(re.findall(r"\w+", text.lower()))


@pytest.mark.parametrize("name", [DOCUMENTS, QUESTIONS, MORE_QUESTIONS])
def test_file_is_composed_utf8_with_one_record_a_line(name: str) -> None:
    text = raw_bytes(name).decode("utf-8")
    assert not text.startswith("\ufeff")
    assert text.endswith("\n")
    assert "\r" not in text
    assert unicodedata.is_normalized("NFC", text)
    assert "\ufffd" not in text
    assert all(isinstance(json.loads(line), dict) for line in text.removesuffix("\n").split("\n"))


def test_documents_are_many_and_distinct() -> None:
    documents = rows(DOCUMENTS)
    assert len(documents) >= 120
    for key in ("id", "title", "text"):
        values = [document[key] for document in documents]
        assert len(set(values)) == len(values), key


def test_documents_have_slug_title_and_text_and_nothing_else() -> None:
    for document in rows(DOCUMENTS):
        assert set(document) == {"id", "title", "text"}
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", document["id"])
        assert document["title"].strip() == document["title"] != ""
        assert document["text"].strip() == document["text"]


def test_passages_have_70_to_160_words_in_at_most_two_paragraphs() -> None:
    for document in rows(DOCUMENTS):
        paragraphs = document["text"].split("\n\n")
        assert len(paragraphs) <= 2, document["id"]
        assert not any("\n" in paragraph for paragraph in paragraphs), document["id"]
        assert 70 <= len(document["text"].split()) <= 160, document["id"]


def test_many_passages_hold_characters_of_more_than_one_byte() -> None:
    # Offsets counted in bytes instead of characters must not pass unnoticed.
    assert sum(not document["text"].isascii() for document in rows(DOCUMENTS)) >= 30


def test_eight_questions_are_for_the_demo_and_forty_or_more_for_tests() -> None:
    assert len(rows(QUESTIONS)) == 8
    assert len(rows(MORE_QUESTIONS)) >= 40


def test_questions_have_unique_ids_and_texts_over_both_files() -> None:
    questions = all_questions()
    assert all(set(question) == {"id", "question", "answers", "document_id"} for question in questions)
    assert len({question["id"] for question in questions}) == len(questions)
    assert len({plain(question["question"]) for question in questions}) == len(questions)


def test_every_answer_stands_verbatim_in_the_named_document() -> None:
    texts = {document["id"]: document["text"] for document in rows(DOCUMENTS)}
    for question in all_questions():
        assert question["answers"], question["id"]
        assert len(set(question["answers"])) == len(question["answers"]), question["id"]
        for answer in question["answers"]:
            assert stands_in(answer, texts[question["document_id"]]), (question["id"], answer)


def test_answers_have_one_to_six_words() -> None:
    for question in all_questions():
        assert all(1 <= len(answer.split()) <= 6 for answer in question["answers"]), question["id"]


def test_questions_are_short_do_not_give_the_answer_away_and_copy_no_passage() -> None:
    passages = [plain(document["text"]) for document in rows(DOCUMENTS)]
    for question in all_questions():
        words = plain(question["question"]).split()
        assert question["question"].endswith("?")
        assert 3 <= len(words) <= 20, question["id"]
        given_away = [answer for answer in question["answers"] if stands_in(answer, question["question"])]
        assert given_away == [], question["id"]
        body = " ".join(words[1:])
        assert not any(body in passage for passage in passages), question["id"]


def test_demo_questions_ask_in_different_ways_about_different_documents() -> None:
    demo = rows(QUESTIONS)
    assert len({question["document_id"] for question in demo}) == len(demo)
    openings = {" ".join(question["question"].split()[:2]).lower() for question in demo}
    kinds = ("who", "when", "what", "how many")
    assert all(any(opening.startswith(kind) for opening in openings) for kind in kinds)
    assert openings & {"in which", "at which"} or any(opening.startswith("where") for opening in openings)
