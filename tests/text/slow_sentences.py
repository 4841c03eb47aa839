"""Sentences found one character at a time, every rule spelt out: the oracle for the quick way."""

from __future__ import annotations

import re

from realm.text import sentences as rules

STOPS = ".!?…"
CLOSING_SIGNS = "\"'”’»)]"
LINE_BREAKS = "\n\r\u2028\u2029"
OPENING = "\"'“‘«(["


def slow_sentences(text: str) -> list[tuple[int, int]]:
    """Start and end of each sentence."""
    cased = not text.islower()
    spans: list[tuple[int, int]] = []
    start = next((place for place, letter in enumerate(text) if not letter.isspace()), len(text))
    place = start
    while place < len(text):
        stop = text[place]
        if stop not in STOPS and stop not in LINE_BREAKS:
            place += 1
            continue
        closed = end_of_closing(text, place + 1) if stop in STOPS else place + 1
        following = closed
        while following < len(text) and is_space(text[following]):
            following += 1
        if stop in LINE_BREAKS:
            end = place
        elif following > closed and ends(text, start, place, closed, following, cased):
            end = closed
        else:
            place = max(following, place + 1)
            continue
        trimmed = text[start:end].rstrip()
        if trimmed:
            spans.append((start, start + len(trimmed)))
        start = place = following
    rest = text[start:].rstrip()
    return [*spans, (start, start + len(rest))] if rest else spans


def is_space(letter: str) -> bool:
    return re.fullmatch(r"\s", letter) is not None


def end_of_closing(text: str, place: int) -> int:
    while place < len(text) and text[place] in STOPS:
        place += 1
    while place < len(text):
        mark = re.compile(r"\[[0-9]{1,3}\]").match(text, place)
        if text[place] in CLOSING_SIGNS:
            place += 1
        elif mark:
            place = mark.end()
        else:
            break
    return place


def ends(text: str, start: int, place: int, closed: int, following: int, cased: bool) -> bool:
    """Whether the stop at `place`, closed up to `closed`, with its next word from `following` on, ends a sentence."""
    if any(letter in LINE_BREAKS for letter in text[closed:following]):
        return True
    opened = following
    while opened < min(following + 4, len(text)) and text[opened] in OPENING:
        opened += 1
    match = re.compile(r"\w{0,24}").match(text, opened)
    word_after = match[0] if match else ""
    if cased and word_after[:1].islower():
        return False
    if text[place] != "." or (closed > place + 1 and text[place + 1] not in ")]"):
        return True
    before = text[max(start, place - 40) : place]
    word = before.rpartition(" ")[2]
    if place - len(word) == start and re.fullmatch(r"[(\[]?(?:[0-9]{1,3}|[ivxlIVXL]{1,5}|[A-Za-z])", word):
        return False
    return not is_abbreviation(word.lstrip(OPENING), word_after, cased)


def is_abbreviation(word: str, after: str, cased: bool) -> bool:
    forms = {word, word.capitalize()} if word[:1].isupper() or not cased else {word}
    if forms & rules._BEFORE_NAME:
        return True
    if after[:1].isdigit() and word.lower() in rules._BEFORE_NUMBER:
        return True
    is_initial = len(word) == 1 and word.isalpha() and (word != "I" or len(after) == 1)
    is_dotted = re.fullmatch(r"(?:[^\W\d_]{1,3}\.)+[^\W\d_]{1,3}", word) is not None
    return (is_initial or bool(forms & rules._MAY_END) or is_dotted) and after not in rules._OPENERS
