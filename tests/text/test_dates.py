"""Where dates stand: by hand for what the grammar promises, by properties for what holds of every text."""

from __future__ import annotations

import calendar
import datetime
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.text.dates import date_spans

WORDS = st.sampled_from(
    "May March 19 1867 1990s BC AD 5th century early mid late – - , . the '90s January Jan. of to and in 44 2004-05-06 "
    "$ 1,500 soldiers km summer nineteenth centuries é 東 \n".split(" ")
)
TEXTS = st.lists(WORDS | st.sampled_from([" ", "", "\n"]), max_size=30).map("".join) | st.text()


def dates(text: str) -> list[str]:
    return [text[start:end] for start, end in date_spans(text)]


@pytest.mark.parametrize(
    "text",
    [
        "He was born on [19 May 1867] in Ely.",
        "Signed on [May 19, 1867], and on [3 June].",
        "It lasted from [1914] to [1918], or [1914–18], or [1939-1945].",
        "In the [early 1990s] and the [late 1960s–70s] it rained; in the ['90s] too.",
        "In the [mid-19th century] and the [nineteenth and twentieth centuries].",
        "The [5th century BC], [44 BC], [AD 79], [A.D. 988] and [300–200 BC].",
        "Between [12–14 May 1900], [12 May – 3 June 1900] and [June–July 1850].",
        "Logged [2004-05-06], filed 1.2004 and due [12/31/1999].",
        "On [Sept. 3, 2001] and the [3rd of March 1801].",
        "The [summer of 1969]. The [2006/07] season.",
        "In [May] he may March; in [March] he left. [August] was hot.",
        "The [twenty-first century] began on [1 January 2001].",
    ],
)
def test_dates_are_those_between_brackets(text: str) -> None:
    plain, expected, start = "", [], 0
    for sign in text:
        if sign == "[":
            start = len(plain)
        elif sign == "]":
            expected.append((start, len(plain)))
        else:
            plain += sign
    assert date_spans(plain) == expected


@pytest.mark.parametrize(
    "text",
    [
        "May he live, said April O'Neil and August Wilson.",
        "March on Rome.",
        "It cost $1999 or €1850.",
        "About 1500 soldiers and 1,500 horses marched 1999 km and 1850 miles.",
        "Version 2.1999 of 11999 and 19991; see http://a/1999.",
        "The century ended. 80s music.",
        "Room 3000, 0999 and 2100.",
    ],
)
def test_numbers_and_words_that_are_no_dates_are_refused(text: str) -> None:
    assert dates(text) == []


@given(st.dates(min_value=datetime.date(1000, 1, 1), max_value=datetime.date(2099, 12, 31)), st.integers(0, 5))
def test_every_day_of_eleven_centuries_is_found_in_every_writing(day: datetime.date, writing: int) -> None:
    month = calendar.month_name[day.month]
    text = [
        f"{day.day} {month} {day.year}",
        f"{month} {day.day}, {day.year}",
        day.isoformat(),
        f"{month} {day.year}",
        f"{month[:3]}. {day.day}, {day.year}" if month != "May" else "May 5, 1900",
        f"{day.year}",
    ][writing]
    assert dates(f"It was, since {text}, so.") == [text]


@given(TEXTS)
def test_spans_are_visible_in_order_and_apart(text: str) -> None:
    spans = date_spans(text)
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)
    assert all(left[1] <= right[0] for left, right in pairwise(spans))
    assert all("\n" not in date for date in dates(text))


@given(TEXTS, TEXTS)
def test_lines_are_looked_at_independently_of_each_other(first: str, second: str) -> None:
    assert dates(f"{first}\n{second}") == dates(first) + dates(second)


@pytest.mark.parametrize(
    "text",
    [
        "1" * 90_000,
        "1-" * 45_000,
        "May " * 20_000,
        "19 " * 30_000,
        "1900–" * 20_000,
        "5th and " * 10_000,
        "century" * 9_000,
        "early " * 15_000 + "1990s",
        "1 May – " * 10_000,
        "January, " * 10_000,
        "A.D. " * 18_000,
        " " * 90_000,
    ],
)
def test_odd_texts_take_linear_time(text: str) -> None:
    started = time.process_time()
    date_spans(text)
    assert time.process_time() - started < 5
