"""Where the dates of an English text stand, by a grammar: no model, linear time, the same result everywhere.

    date     = day month [year] | month day [year] | month year | season year | year | decade | century | month
             | yyyy-mm-dd | d/m/yyyy
    day      = 1 … 31 with or without st, nd, rd, th; two of them joined by a dash, "to" or "and"
    month    = a name, or its abbreviation beside a number; two of them joined by a dash
    year     = 1000 … 2099, two joined by a dash ("1914–18"); any year with BC, BCE, AD or CE
    decade   = 1990s, '90s; two joined by a dash
    century  = 19th or nineteenth, alone or two joined by "and", "to", "or" or a dash, then "century" or "centuries"

"early", "mid" and "late" in front belong to a date, an article does not: of "in the early 1990s" it is "early 1990s". A
four-digit number that counts or measures something, and "May" or "March" as words, are refused by what stands
around them. Knows characters only. Read `date_spans` first, then `_GRAMMAR`.
"""

from __future__ import annotations

import re

_MONTH = (
    r"(?:Jan(?:uary|\b\.?+)|Feb(?:ruary|\b\.?+)|Mar(?:ch|\b\.?+)|Apr(?:il|\b\.?+)|May|Jun(?:e|\b\.?+)|Jul(?:y|\b\.?+)|Aug(?:ust|\b\.?+)|"
    r"Sep(?:tember|t?+\b\.?+)|Oct(?:ober|\b\.?+)|Nov(?:ember|\b\.?+)|Dec(?:ember|\b\.?+))(?!\w)"
)
_FULL_MONTH = (
    r"(?:January|February|March|April|May|June|July|August|September|October|November|December)(?!\w)"
)  # fmt: skip
_DAY = r"(?:3[01]|[12][0-9]|0?+[1-9])(?:st|nd|rd|th)?+(?![\w])"
_YEAR = r"(?:1[0-9]{3}|20[0-9]{2})(?!\w)"
_ERA = r"(?:\ ?(?:B\.C\.E\.|B\.C\.|A\.D\.|C\.E\.|BCE|BC|CE|AD)(?!\w))"
_DASH = r"(?:\ ?[-–—]\ ?)"
_TO = rf"(?:{_DASH}|\ to\ |\ and\ )"
_WITH_YEAR = rf"(?:,?\ (?:[0-9]{{3,4}}{_ERA}|{_YEAR}))"

# Order: of several that match at one place the first counts, so the longer ones stand first. The class in front lets
# the search skip to what can begin a date; what stands before it is looked at afterwards. Nothing repeats without a
# limit, so no text takes more than linear time.
_GRAMMAR = re.compile(
    rf"""(?=[0-9JFMASOND])(?<!\w)(?:
        [0-9]{{4}}-[01][0-9]-[0-3][0-9](?!\w)
      | [0-3]?[0-9]/[0-3]?[0-9]/[0-9]{{4}}(?!\w)
      | {_DAY}(?:{_TO}{_DAY})?\ (?:of\ )?{_MONTH}(?:{_WITH_YEAR})?
            (?:{_TO}{_DAY}\ {_MONTH}(?:{_WITH_YEAR})?)?
      | {_MONTH}\ {_DAY}(?!:)(?:{_TO}(?:{_MONTH}\ )?{_DAY})?(?:{_WITH_YEAR})?
      | {_MONTH}(?:{_DASH}{_MONTH})?(?:,|\ of)?\ {_YEAR}(?:{_DASH}(?:{_MONTH}\ )?{_YEAR})?{_ERA}?
      | [0-9]{{3}}0['’]?s(?!\w)(?:{_DASH}(?:[0-9]{{2}})?[0-9]0['’]?s(?!\w))?
      | [0-9]{{1,4}}(?:{_DASH}[0-9]{{1,4}})?{_ERA}
      | A(?:D|\.D\.)\ [0-9]{{1,4}}(?!\w)
      | (?P<decade>[2-9]0['’]?s(?!\w))
      | (?P<year>{_YEAR}(?:{_DASH}(?:{_YEAR}|[0-9]{{2}}(?!\w))|/[0-9]{{2}}(?![\w/]))?)
      | (?P<month>{_FULL_MONTH})
    )""",
    re.VERBOSE,
)
_CENTURY = re.compile(rf"centur(?:y|ies)(?!\w){_ERA}?")
_ORDINAL = (
    r"(?:[0-9]{1,2}(?:st|nd|rd|th)|(?:[Tt]wenty-)?(?:[Ff]irst|[Ss]econd|[Tt]hird|[Ff]ourth|[Ff]ifth|[Ss]ixth|[Ss]eventh|"
    r"[Ee]ighth|[Nn]inth)|[Tt]enth|[Ee]leventh|[Tt]welfth|(?:[Tt]hir|[Ff]our|[Ff]if|[Ss]ix|[Ss]even|[Ee]igh|[Nn]ine)teenth|"
    r"[Tt]wentieth)"
)
_BEFORE_CENTURY = re.compile(
    rf"(?<!\w){_ORDINAL}(?:(?:{_DASH}|,?\ and\ |\ or\ |\ to\ ){_ORDINAL})?[ -]\Z".replace(r"\ ", " ")
)
_MODIFIER = re.compile(r"(?<!\w)(?:[Ee]arly|[Mm]id|[Ll]ate)(?:-? (?:to|and) (?:mid|late))?[- ]\Z")
_SEASON = re.compile(r"(?<!\w)(?:[Ss]pring|[Ss]ummer|[Aa]utumn|[Ff]all|[Ww]inter) (?:of )?\Z")
_LONGEST_MODIFIER = 20
_LONGEST_ORDINALS = 48

_UNIT = re.compile(
    r"""[.,][0-9]|°|\ ?%|-[a-z]|\ ?(?:km|m|cm|mm|ft|feet|foot|mi|miles?|met(?:re|er)s?|kilomet(?:re|er)s?|kg|tons?|
    tonnes?|lbs?|pounds?|hp|MW|kW|Hz|acres?|hectares?|hours?|days?|years?|people|men|women|persons|inhabitants|others?|more|
    or\ more|million|billion|thousand|dollars?|euros?|sq)(?!\w)""",
    re.VERBOSE,
)
_PLURAL = re.compile(r" (?!(?:was|is|its|has|as|this|his|does|series)\b)[a-z]{3,}s(?!\w)")
_SAYS_YEAR = re.compile(
    r"(?<!\w)(?:in|since|by|until|till|before|after|during|circa|ca\.|c\.|born|died|year|from|between|of|season|and|to)"
    r" \Z",
    re.IGNORECASE,
)
_SAYS_MONTH = re.compile(
    r"(?<!\w)(?:in|since|by|until|till|before|after|during|of|to|and|last|next|each|every|early|late|mid|through|from|"
    r"that|this)[ -]\Z",
    re.IGNORECASE,
)
_WORD_BEFORE = 12
_NEVER_BEFORE = frozenset("$£€¥#/@_")
_ALSO_WORDS = frozenset(["May", "March"])


def date_spans(text: str) -> list[tuple[int, int]]:
    """Find the dates of an English text.

    Args:
        text: Any text.

    Returns:
        Half-open character ranges in reading order that do not overlap, each beginning and ending with a visible
        character.
    """
    spans = []
    for match in _GRAMMAR.finditer(text):
        start, end = match.span()
        if match.lastgroup and not _is_date(text, start, end, match.lastgroup):
            continue
        if text[start].isdigit() and _goes_on_before(text, start):
            continue
        spans.append((_extended(text, start, match.lastgroup), end))
    centuries = [span for match in _CENTURY.finditer(text) if (span := _century(text, match))]
    return _merged(spans, centuries)


def _century(text: str, match: re.Match[str]) -> tuple[int, int] | None:
    """The century whose last word is at `match`, if ordinals stand before it."""
    begin = max(0, match.start() - _LONGEST_ORDINALS)
    before = _BEFORE_CENTURY.search(text[begin : match.start()])
    return (_extended(text, begin + before.start(), None), match.end()) if before else None


def _extended(text: str, start: int, group: str | None) -> int:
    """Where the date that starts at `start` begins together with its modifier or season."""
    if group == "decade" and text[start - 1 : start] in ("'", "’"):
        return start - 1
    before = text[max(0, start - _LONGEST_MODIFIER) : start]
    if before[-1:] not in (" ", "-"):
        return start
    found = _MODIFIER.search(before) or (_SEASON.search(before) if group == "year" else None)
    return start - len(before) + found.start() if found else start


def _goes_on_before(text: str, start: int) -> bool:
    """Whether the digit at `start` belongs to a longer number, a price or a path."""
    last = text[start - 1 : start]
    return last in _NEVER_BEFORE or (last in (".", ",", "-", "–", ":") and text[start - 2 : start - 1].isdigit())


def _is_date(text: str, start: int, end: int, group: str) -> bool:
    before = text[max(0, start - _WORD_BEFORE) : start]
    if group == "decade":
        return before.endswith(("'", "’", "the ", "mid-", "early ", "late "))
    if group == "month":
        follows_name = text[end : end + 1] == " " and text[end + 1 : end + 2].isupper()
        if text[start:end] in _ALSO_WORDS or follows_name:
            return _SAYS_MONTH.search(before) is not None and not follows_name
        return True
    if _UNIT.match(text, end):
        return False
    is_round = text[start + 2 : end] in ("00", "50") or text[start : start + 2] < "14"
    return not is_round or _SAYS_YEAR.search(before) is not None or not _PLURAL.match(text, end)


def _merged(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Both lists in reading order; of ranges that overlap, the one that begins first."""
    merged: list[tuple[int, int]] = []
    for span in sorted(first + second, key=lambda s: (s[0], -s[1])):
        if not merged or span[0] >= merged[-1][1]:
            merged.append(span)
    return merged
