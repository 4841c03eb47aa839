"""Where the names of an English text stand, by rules on capital letters: no model, the same result everywhere.

    sentence ──_RUN──> words with capitals and what may join them ──rules──> names

A run such as "In April the University of the Andes" is cut where a word cannot belong to a name: function words, ranks
before a person, openers of sentences that the text also has in small letters. Dates are taken out of the text first.
Knows characters only. Read `RuleTagger` first, then `_TextRules`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from realm.artifacts import sha256_of_text
from realm.text.dates import date_spans
from realm.text.name_words import (
    ABBREVIATIONS,
    FUNCTION_WORDS,
    HEADS,
    HONORIFICS,
    LEADING_PARTICLES,
    OPENING_PREFIXES,
    PARTICLES,
    RANKS,
    RANKS_OF_THE_NAME,
    WORD_ENDINGS,
)
from realm.text.salient import DATE, SalientSpan
from realm.text.sentences import sentence_spans

NAME = "name"
RULES_VERSION = "rules 1"
"""Changes with the rules, here, in `dates` and in `name_words`, so that spans found by other rules are found anew."""


def _capitals() -> str:
    """Every capital letter below U+3000, as the inside of a character class; `re` has no word for them."""
    return "".join(chr(code) for code in range(0x3000) if chr(code).isupper() or chr(code).istitle())


_UPPER = _capitals()
_PLAIN = (
    rf"[{_UPPER}]\w*+(?:['’](?!s(?!\w))\w++)*+"
    rf"(?:-(?:[a-z]{{1,5}}+-){{0,2}}+[{_UPPER}0-9]\w*+(?:['’](?!s(?!\w))\w++)?)*+(?:&[{_UPPER}]\w*+)?"
)
_WORD = (
    rf"(?:(?:{ABBREVIATIONS})\.|[{_UPPER}](?:\.-?[{_UPPER}]){{1,8}}+(?!\w)\.?+|[{_UPPER}]\.(?=\ ?[{_UPPER}])|"
    rf"[0-9]{{1,3}}(?:st|nd|rd|th)(?=\ [{_UPPER}])|{_PLAIN})"
)
_NARROW = rf"(?:\ (?:d['’]|the\ (?=Great|Elder|Younger))?|\ (?:{PARTICLES})\ |\ &\ |,\ (?=(?:Jr|Sr|Inc|Ltd)\b))"
_WIDE = r"(?:\ (?:and|for|on|in|to|at|upon|with)(?:\ the)?\ |['’]s\ )"
_NUMBER = r"(?:\ [0-9]{1,4}(?![\w%]|[.,][0-9]|\ [a-z]))"
# Order: the class in front lets the search skip to capitals and digits. Nothing repeats without consuming, and what is
# tried and given up is bounded, so that no text takes more than linear time.
_RUN = re.compile(rf"(?=[{_UPPER}0-9])(?<![\w-]){_WORD}(?:(?:{_NARROW}|{_WIDE}){_WORD})*+{_NUMBER}?+")
_PART = re.compile(rf"({_WIDE}|{_NARROW})?({_WORD}|[0-9]{{1,4}})")
_LOWER_WORD = re.compile(r"(?<![\w'’-])[a-z]\w++")
_CAPITAL_INSIDE = re.compile(rf"[{_UPPER}](?<=[a-z,] .)\w++")
_OPENING = re.compile(r"[^\w]*")
_NEVER_WIDE = frozenset(["", "d'", "d’", "the", "&", ",", *PARTICLES.split("|")])
_MOST_WORDS = 16  # a longer row of capitals is no name, but a list or a headline


class Gazetteer(Protocol):
    """Knows which names there are; `corpus_words.TitleSet` is one."""

    longest_words: int
    digest: str

    def __contains__(self, name: str) -> bool: ...


class _Part(NamedTuple):
    """A word of a run, and what joins it to the word before."""

    join: str
    start: int
    end: int
    word: str


class RuleTagger:
    """Names by rules, with the help of what small letters and a list of titles say.

    Args:
        lower_words: Words that the corpus has in small letters; a sentence that opens with one of them does not open
            with a name. Those of the text itself count always.
        titles: Titles of documents; names of several words that are among them are found whole, whatever joins
            their words.
    """

    finds_dates = True

    def __init__(self, lower_words: Collection[str] = (), titles: Gazetteer | None = None) -> None:
        self.lower_words = lower_words
        self.titles = titles

    @property
    def digest(self) -> str:
        """Names the rules, with the words and titles they were given."""
        words = sorted(self.lower_words) if self.lower_words else []
        return sha256_of_text(RULES_VERSION, str(self.titles.digest if self.titles else ""), *words)

    def spans(self, texts: Sequence[str]) -> list[list[SalientSpan]]:
        """Names and dates of each text, in reading order, without overlap; names lie inside one sentence."""
        return [_TextRules(text, self).spans() for text in texts]


class _TextRules:
    """The rules, for one text."""

    def __init__(self, text: str, tagger: RuleTagger) -> None:
        self.tagger = tagger
        self.dates = date_spans(text)
        self.sentences = sentence_spans(text)
        self.text = without(self.dates, text)
        self.lower = set(_LOWER_WORD.findall(self.text))
        self.capitals_inside = set(_CAPITAL_INSIDE.findall(self.text))

    def spans(self) -> list[SalientSpan]:
        names = [SalientSpan(start, end, DATE) for start, end in self.dates]
        for start, end in self.sentences:
            if _is_all_capitals(self.text[start:end]):
                continue
            opening = _OPENING.match(self.text, start, end)
            first = opening.end() if opening else start
            for run in _RUN.finditer(self.text, start, end):
                names += self.names_of_run(run, run.start() == first)
        names.sort()
        return names

    def names_of_run(self, run: re.Match[str], opens: bool) -> list[SalientSpan]:
        """Names in a run of words with capitals; `opens` where it opens its sentence."""
        start, end = run.span()
        word = self.text[start:end]
        if " " not in word and "'" not in word and "’" not in word:
            return [] if self.is_no_name(word, opens) else [self.span(start, end)]
        parts = [
            _Part(found[1] or "", found.start(2), found.end(2), found[2])
            for found in _PART.finditer(self.text, start, end)
        ]
        spans = []
        for segment in self.segments(parts):
            if len(segment) > 1 and self.is_title(segment):
                kept = segment
            else:
                kept = self.kept(segment, opens and segment[0].start == start)
            if kept and len(kept) <= _MOST_WORDS:
                spans.append(self.span(kept[0].start, kept[-1].end))
        return spans

    def segments(self, parts: list[_Part]) -> list[list[_Part]]:
        """The run cut where a wide join does not belong to the name, and around titles."""
        segments: list[list[_Part]] = []
        number, after_title = 0, True
        while number < len(parts):
            count = self.words_of_title(parts, number) if self.tagger.titles is not None else 1
            part = parts[number]
            if count > 1:
                segments.append(parts[number : number + count])
            elif not after_title and (part.join.strip() in _NEVER_WIDE or self.joins(segments[-1], part)):
                segments[-1].append(part)
            else:
                segments.append([part])
            after_title = count > 1
            number += count
        return segments

    def words_of_title(self, parts: list[_Part], first: int) -> int:
        """How many words the longest title has that begins with the word `first`; 1 if there is none."""
        longest = self.tagger.titles.longest_words if self.tagger.titles is not None else 1
        for last in range(min(len(parts), first + longest) - 1, first, -1):
            if self.is_title(parts[first : last + 1]):
                return last + 1 - first
        return 1

    def is_title(self, parts: list[_Part]) -> bool:
        titles = self.tagger.titles
        return titles is not None and self.text[parts[0].start : parts[-1].end] in titles

    def joins(self, left: list[_Part], part: _Part) -> bool:
        """Whether a wide join such as "for" or "and" is part of a name."""
        left = left[-_MOST_WORDS:]  # so that a run without end takes linear time
        head = any(each.word in HEADS for each in left)
        if part.join.startswith(("'", "’")):
            return False
        if part.join.startswith(" and"):
            return head and any(each.join.startswith((" of", " for")) for each in left)
        return head and part.join.startswith((" for", " on"))

    def kept(self, parts: list[_Part], opens: bool) -> list[_Part]:
        """What is left of a segment without words at its ends that are of no name."""
        first, last = 0, len(parts)
        droppable = FUNCTION_WORDS if opens or last == 1 else HONORIFICS
        while first < last and parts[first].word in droppable:
            first += 1
        if first == 0 and opens and last > 1 and self.is_common_opener(parts[0].word):
            first = 1
        while first < last and parts[first].word in RANKS:
            is_last = first + 1 == last
            if not is_last and parts[first].word in RANKS_OF_THE_NAME:
                break
            first += 1
        if last - first == 1 and self.is_no_name(parts[first].word, opens and first == 0):
            return []
        return parts[first:last]

    def is_common_opener(self, word: str) -> bool:
        """Whether the first of several words with capitals is one of the language, not of the name."""
        if word in OPENING_PREFIXES or word in self.capitals_inside:
            return False
        return self.is_known_in_small_letters(word)

    def is_known_in_small_letters(self, word: str) -> bool:
        lower = word.lower()
        forms = (lower, lower + "s", lower.removesuffix("s"))
        return any(form in self.lower or form in self.tagger.lower_words for form in forms)

    def is_no_name(self, word: str, opens: bool) -> bool:
        """Whether one word with a capital, standing alone, is no name."""
        if word in FUNCTION_WORDS or word in RANKS or word[0].isdigit() or len(word) == 1:
            return True
        if not opens or word in self.capitals_inside or word[1:2].isupper():
            return False
        return self.is_known_in_small_letters(word) or word.endswith(WORD_ENDINGS)

    def span(self, start: int, end: int) -> SalientSpan:
        """A name, with the particle it begins with: "van Gogh"."""
        if self.text.endswith(LEADING_PARTICLES, 0, start):
            particle = next(each for each in LEADING_PARTICLES if self.text.endswith(each, 0, start))
            if not self.text[start - len(particle) - 1 : start - len(particle)].isalnum():
                start -= len(particle)
        return SalientSpan(start, end, NAME)


def without(dates: list[tuple[int, int]], text: str) -> str:
    """The text with its dates written over by signs that belong to no name; every position stays."""
    parts: list[str] = []
    at = 0
    for start, end in dates:
        parts += (text[at:start], "|" * (end - start))
        at = end
    return "".join([*parts, text[at:]])


def _is_all_capitals(sentence: str) -> bool:
    """Whether case says nothing here, as in a headline of several words."""
    return sentence.isupper() and sum(len(word) > 3 for word in sentence.split()) > 1
