"""Which questions a step learns from, and which are kept aside to measure by.

    files ─► questions with answers in word pieces, numbered ─► order of each file ─ Mixture ─► a step's questions

A question may come with its passage (a reading example): then `marked` says where in it the answer stands. What is
drawn is a function of (seed, step). Knows neither blocks nor networks.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from realm.artifacts import sha256_of_text
from realm.corpus.questions import AnswerType, read_questions, read_reading_examples, read_reference_questions
from realm.corpus.skips import SkipReport
from realm.errors import RecipeError
from realm.features.spans import pieces_of_characters
from realm.records import Question, ReadingExample
from realm.text.pieces import Pieces, PieceTokenizer
from realm.text.sentences import sentence_spans
from realm.training.distributed import Processes
from realm.training.reading_data import is_kept_aside, split_paths
from realm.training.shuffling import Shuffle

_CYCLE_PLACES = 1000
_AT_ONCE = 512
_TOO_LONG = "question_too_long"


class MarkedSentence(NamedTuple):
    """The sentence of a passage in which an answer is marked, in word pieces.

    Attributes:
        ids: Of the sentence.
        first: First piece of the answer, counted in the sentence.
        last: Its last piece, inclusive.
    """

    ids: list[int]
    first: int
    last: int


class AskedQuestion(NamedTuple):
    """A question to learn from or to measure by.

    Attributes:
        number: Its own among all questions of a run.
        question: As it was read.
        ids: Its word pieces.
        answers: Word pieces of its answers; none if they are regular expressions.
        marked: Where its passage answers it; empty where no passage is known or is to be used.
    """

    number: int
    question: Question
    ids: list[int]
    answers: list[list[int]]
    marked: list[MarkedSentence]


class Questions:
    """All questions of a run.

    Args:
        sources: Files, as in a recipe.
        dev: File of questions to measure by; None for those that `sources` keep aside.
        tokenizer: Of the model.
        answer_type: What answers are where a file does not say.
        max_pieces: A longer question is left out.
        use_passages: Whether passages of reading examples count.
        seed: Of the order.

    Attributes:
        dev: Questions to measure by.
        digest: Names the questions, those of each file and how often it is drawn from.
        skipped: How many questions to learn from were left out, by reason.
        skipped_dev: How many to measure by; those that are too long count as answered wrongly.

    Raises:
        RecipeError: A file has no question to learn from, or none of `dev` can be used.
        SourceError: A file cannot be read.
    """

    def __init__(
        self,
        sources: Sequence[str],
        data: Path,
        dev: Path | None,
        tokenizer: PieceTokenizer,
        *,
        answer_type: AnswerType,
        max_pieces: int,
        use_passages: bool,
        seed: int,
    ) -> None:
        if not sources:
            raise RecipeError("questions is empty: name at least one file of questions to learn from.")
        self.skipped, self.skipped_dev = SkipReport(), SkipReport()
        self._reader = _Reader(tokenizer, answer_type, max_pieces, use_passages)
        self.dev: list[AskedQuestion] = []
        self._groups: list[list[AskedQuestion]] = []
        shares = []
        for path, keep_aside, share in split_paths(sources):
            asked = list(self._reader.read(data / path, keep_aside, (self.skipped, self.skipped_dev)))
            self._groups.append([one for one, is_aside in asked if not is_aside])
            self.dev += [one for one, is_aside in asked if is_aside]
            shares.append(share)
            if not self._groups[-1]:
                raise RecipeError(f"{path} has no question with an answer to learn from{_why(self.skipped)}.")
        if dev is not None:
            self.skipped_dev = SkipReport()
            self.dev = [one for one, _ in self._reader.read(dev, 0, (self.skipped_dev, self.skipped_dev))]
            if not self.dev:
                raise RecipeError(f"{dev} has no question with an answer to measure by{_why(self.skipped_dev)}.")
        self._mixture = Mixture(shares, seed)
        self._orders = [Shuffle(len(group), seed + number) for number, group in enumerate(self._groups)]
        sizes = [(len(group), share) for group, share in zip(self._groups, shares, strict=True)]
        self.digest = sha256_of_text(str(sizes), _digest(chain(*self._groups, self.dev)))

    def __len__(self) -> int:
        return sum(map(len, self._groups))

    def draw(self, step: int, count: int, processes: Processes) -> list[AskedQuestion]:
        """This process's questions of a step of `count`."""
        drawn = []
        for place in processes.share(range(step * count, (step + 1) * count)):
            source, turn = self._mixture.at(place)
            drawn.append(self._groups[source][self._orders[source].rows(turn, turn + 1)[0]])
        return drawn

    def sample_of_dev(self, most: int) -> tuple[list[AskedQuestion], int]:
        """Questions to measure by, the same ones every time; and how many they stand for.

        Questions that are too long to be asked are among that number: nobody answers them.
        """
        whole = len(self.dev) + self.skipped_dev.reasons[_TOO_LONG]
        count = min(most, whole)
        rows = Shuffle(whole, 0).rows(0, count) if count else []
        return [self.dev[row] for row in rows if row < len(self.dev)], count


class Mixture:
    """An endless sequence of sources, each as often as its share says.

    A cycle of places has the sources in random order; it is the same every time.

    Args:
        shares: Weight of each source, over 0.
        seed: Of the order.
    """

    def __init__(self, shares: Sequence[float], seed: int) -> None:
        ends = [round(_CYCLE_PLACES * sum(shares[: n + 1]) / sum(shares)) for n in range(len(shares))]
        self._counts = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
        if 0 in self._counts:
            raise RecipeError(f"The share of a file of questions is below 1 in {_CYCLE_PLACES:,}. Leave it out.")
        self._cycle = [source for source, count in enumerate(self._counts) for _ in range(count)]
        random.Random(f"mixture {seed}").shuffle(self._cycle)
        seen = [0] * len(shares)
        self._before = []
        for source in self._cycle:
            self._before.append(seen[source])
            seen[source] += 1

    def at(self, place: int) -> tuple[int, int]:
        """The source at a place, and how often it came before."""
        cycle, inside = divmod(place, _CYCLE_PLACES)
        source = self._cycle[inside]
        return source, cycle * self._counts[source] + self._before[inside]


class _Reader:
    """Reads files of questions and numbers the questions."""

    def __init__(self, tokenizer: PieceTokenizer, answer_type: AnswerType, max_pieces: int, use_passages: bool) -> None:
        self._tokenizer, self._answer_type, self._max_pieces = tokenizer, answer_type, max_pieces
        self._use_passages = use_passages
        self._next = 0

    def read(
        self, path: Path, keep_aside: int, skipped: tuple[SkipReport, SkipReport]
    ) -> Iterator[tuple[AskedQuestion, bool]]:
        """Questions that can be used, each with whether it is kept aside; `skipped` counts the others by that, too."""
        first = next(iter(read_reference_questions(path)))
        examples: Iterator[Question | ReadingExample]
        if first.passage:
            examples = iter(read_reading_examples(path))
        else:
            examples = iter(read_questions(path, answer_type=self._answer_type))
        while group := list(islice(examples, _AT_ONCE)):
            yield from self._converted(group, keep_aside, skipped)

    def _converted(
        self, group: Sequence[Question | ReadingExample], keep_aside: int, skipped: tuple[SkipReport, SkipReport]
    ) -> Iterator[tuple[AskedQuestion, bool]]:
        questions = [one.question if isinstance(one, ReadingExample) else one for one in group]
        pieces = self._tokenizer.encode_batch([question.text for question in questions])
        for given, question, own in zip(group, questions, pieces, strict=True):
            title = given.title if isinstance(given, ReadingExample) else ""
            is_aside = is_kept_aside(title or question.text, keep_aside)
            if reason := self._problem(question, own):
                skipped[is_aside].add(reason, question.id)
                continue
            answers = [] if question.answer_type == "regex" else list(dict.fromkeys(filter(None, question.answers)))
            ids = [part.ids for part in self._tokenizer.encode_batch(answers)]
            marked = self._marked(given) if isinstance(given, ReadingExample) and self._use_passages else []
            yield AskedQuestion(self._next, question, own.ids, ids, marked), is_aside
            self._next += 1

    def _problem(self, question: Question, pieces: Pieces) -> str:
        if not any(question.answers):
            return "no_answer"
        if not pieces.ids:
            return "no_question"
        return _TOO_LONG if len(pieces.ids) > self._max_pieces else ""

    def _marked(self, example: ReadingExample) -> list[MarkedSentence]:
        (context,) = self._tokenizer.encode_batch([example.context])
        sentences = sentence_spans(example.context)
        found = []
        for start, answer in zip(example.answer_starts, example.question.answers, strict=True):
            end = start + len(answer)
            # An answer that runs over a border takes the sentences on both sides.
            touched = [(s, e) for s, e in sentences if s < end and start < e] or [(start, end)]
            whole = pieces_of_characters(context.offsets, touched[0][0], touched[-1][1])
            own = pieces_of_characters(context.offsets, start, end)
            if whole is not None and own is not None:
                ids = context.ids[whole[0] : whole[1] + 1]
                found.append(MarkedSentence(ids, own[0] - whole[0], own[1] - whole[0]))
        return found


def _why(skipped: SkipReport) -> str:
    return f" ({skipped.summary()})" if skipped.total else ""


def _digest(questions: Iterator[AskedQuestion]) -> str:
    parts = []
    for one in questions:
        parts += [one.question.text, one.question.answer_type, str(len(one.question.answers)), *one.question.answers]
        parts.append(repr([tuple(sentence) for sentence in one.marked]))
    return sha256_of_text(*parts)
