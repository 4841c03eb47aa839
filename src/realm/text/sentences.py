"""Where the sentences of an English text stand, by rules: no model, no download, the same result on every
machine.

A regular expression finds every full stop, question mark, exclamation mark and line break; a few rules then
refuse those that end nothing: abbreviations, initials, numbers in a list, a quotation that runs on. Knows
characters only, no word pieces. Read `sentence_spans` first, then `_ends_sentence`.
"""

from __future__ import annotations

import re

# One character that may end a sentence (the search skips to it quickly), what closes behind it, white space,
# the next word. Order: every part is possessive, so no text, however odd, takes more than linear time.
_CANDIDATE = re.compile(
    r"""([.!?…\n\r\u2028\u2029])"""
    r"""((?:(?<=[.!?…])[.!?…]*+(?:["'”’»)\]]|\[[0-9]{1,3}\])*+)?+)"""  # closing: more stops, a footnote mark
    r"""(\s*+)"""
    r"""(?=["'“‘«(\[]{0,4}(\w{0,24}))"""
)
_LINE_BREAKS = frozenset("\n\r\u2028\u2029")
_OPENING = "\"'“‘«(["
_LOOK_BACK_CHARACTERS = 40

# These stand before what they belong to: a name, or a number.
_BEFORE_NAME = frozenset(
    "Adm Amb Brig Bros Capt Cdr Cmdr Col Cpl Dr Esp Fr Gen Gov Hon Lieut Lt Maj Messrs Mlle Mme Mr Mrs Ms "
    "Msgr Mts Prof Pvt Rep Reps Rev Sen Sens Sgt Supt cf esp viz vs e.g i.e E.g I.e".split()
)
_BEFORE_NUMBER = frozenset(
    "approx ca ch chap circ ed eds eq eqs fig figs fl no nos nr op p para pg pl pp pt sec sect vol vols "
    "apr aug dec feb jan jul jun mar nov oct sep sept".split()
)
# These may also end a sentence; they do when the next word is one that opens sentences.
_MAY_END = frozenset(
    "Assn Assoc Ave Blvd Co Corp Dept Ft Inc Jr Llc Ltd Mfg Mt Natl Rd Sr St Ste Univ al approx ca co "
    "dept etc ext inc ltd Ala Ariz Calif Colo Conn Fla Ill Kan Ky Mich Minn Mont Neb Nev Okla Penn Tenn "
    "Tex Va Wash Wis Wyo".split()
)
_OPENERS = frozenset(
    "A After All Although An And Another Are As At Because Before Both But By Despite During Each Even "
    "Finally First For From Furthermore He Her Here His How However I If In Instead Is It Its Later Many "
    "Meanwhile Moreover Most My Nevertheless No Not Nothing Now On Once One Only Or Other Others Our "
    "Several She Since So Some Soon Still Such That The Their Then There Therefore These They This Those "
    "Though Thus To Today Under Unlike Until Was We Were What When Where Whether Which While Who Why With "
    "Yet You Your".split()
)
_LONGEST_ABBREVIATION = max(map(len, _BEFORE_NAME | _BEFORE_NUMBER | _MAY_END))
_DOTTED = re.compile(r"(?:[^\W\d_]{1,3}\.)+[^\W\d_]{1,3}")  # U.S, a.m, Ph.D
_LIST_MARK = re.compile(r"[(\[]?(?:[0-9]{1,3}|[ivxlIVXL]{1,5}|[A-Za-z])")


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Find the sentences of an English text.

    Args:
        text: Any text. A line break always ends a sentence, so headings and list items stand alone.

    Returns:
        Half-open character ranges in reading order that do not overlap. They begin and end with a visible
        character, and every visible character lies in one of them. Empty for a text of white space.
    """
    spans: list[tuple[int, int]] = []
    # A text without capitals gives no hint where sentences open: then every stop counts but those of
    # abbreviations.
    has_capitals = not text.islower()
    start = len(text) - len(text.lstrip())
    for match in _CANDIDATE.finditer(text, start):
        stop, closing, gap, following = match.groups()
        if stop in _LINE_BREAKS:
            end = start + len(text[start : match.start()].rstrip())
        elif not gap:
            continue
        elif gap != " " and not _LINE_BREAKS.isdisjoint(gap):
            end = match.end(2)
        elif has_capitals and following[:1].islower():
            continue
        # An abbreviation may close a bracket, but hardly a quotation.
        elif stop != "." or (closing and closing[0] not in ")]"):
            end = match.end(2)
        elif _belongs_to_word(text, start, match.start(), following, has_capitals):
            continue
        else:
            end = match.end(2)
        if end > start:
            spans.append((start, end))
        start = match.end()
    end = start + len(text[start:].rstrip())
    if end > start:
        spans.append((start, end))
    return spans


def _belongs_to_word(text: str, start: int, end: int, following: str, has_capitals: bool) -> bool:
    """Whether the full stop at `end`, in the sentence that began at `start`, is part of what stands before it."""
    word_start = max(start, text.rfind(" ", max(start, end - _LOOK_BACK_CHARACTERS), end) + 1)
    if word_start == start and _LIST_MARK.fullmatch(text, start, end):
        return True
    word = text[word_start:end]
    # Most words are long and in small letters, and then abbreviations only if they are listed.
    if len(word) > _LONGEST_ABBREVIATION and word.isalpha():
        return False
    return _is_abbreviation(word.lstrip(_OPENING), following, has_capitals)


def _is_abbreviation(word: str, following: str, has_capitals: bool) -> bool:
    """Whether the stop behind `word` belongs to the word, given the word that follows."""
    name = word.capitalize() if word[:1].isupper() or not has_capitals else word
    if name in _BEFORE_NAME or word in _BEFORE_NAME:
        return True
    if following[:1].isdigit() and word.lower() in _BEFORE_NUMBER:
        return True
    is_initial = len(word) == 1 and word.isalpha() and (word != "I" or len(following) == 1)
    if is_initial or name in _MAY_END or word in _MAY_END or _DOTTED.fullmatch(word):
        return following not in _OPENERS
    return False
