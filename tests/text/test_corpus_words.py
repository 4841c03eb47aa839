"""What a corpus teaches the rules for names."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from realm.text.corpus_words import TitleSet, words_in_small_letters


@given(st.lists(st.text("ab AB")), st.lists(st.text("ab AB")))
def test_titles_are_a_set_of_those_of_several_words(titles: list[str], others: list[str]) -> None:
    kept = {title for title in titles if " " in title}
    found = TitleSet(titles)
    assert all(title in found for title in kept)
    assert [other for other in others if other in found] == [other for other in others if other in kept]
    assert len(found) == len(kept)


def test_what_is_added_in_brackets_is_no_part_of_a_title() -> None:
    titles = TitleSet(["Mercury (planet)", "Red Rock (town)", "The Third Man"])
    assert "Red Rock" in titles
    assert "Red Rock (town)" not in titles
    assert "Mercury" not in titles
    assert 3 not in titles
    assert titles.longest_words == 3


def test_no_more_titles_are_kept_than_asked_for() -> None:
    titles = TitleSet([f"A {n}" for n in range(10)], max_titles=4)
    assert len(titles) == 4
    assert titles.left_out == 6


def test_digest_of_titles_is_the_same_in_every_process() -> None:
    code = "from realm.text.corpus_words import TitleSet; print(TitleSet(['A B', 'C D']).digest)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == TitleSet(["C D", "A B"]).digest


def test_words_count_once_a_text_and_only_in_small_letters() -> None:
    texts = ["the mill the mill", "The Mill of gravel", "a gravel-pit, don't"]
    assert words_in_small_letters(texts) == frozenset(["gravel"])
    assert words_in_small_letters(texts, min_texts=1) == frozenset("the mill of gravel don".split())


def test_the_rarest_words_are_forgotten_when_there_are_too_many() -> None:
    texts = ["often", *(" ".join(f"w{n}x{m}" for m in range(9)) + " often" for n in range(9))]
    found = words_in_small_letters(texts, min_texts=1, max_words=10)
    assert "often" in found
    assert len(found) <= 20
