"""Reading examples as training data: where they come from, which part is kept aside, and how a step draws them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from realm.artifacts import sha256_of_file, sha256_of_text
from realm.corpus.questions import read_reading_examples
from realm.corpus.skips import SkipReport
from realm.errors import RecipeError
from realm.features.spans import pieces_of_characters
from realm.records import ReadingExample
from realm.text.pieces import PieceTokenizer
from realm.training.job_report import QUIET, JobReport


class TokenizedBlock(NamedTuple):
    """A block in word pieces, and its number among all passages."""

    title_ids: list[int]
    body_ids: list[int]
    passage: int


@dataclass(frozen=True)
class TokenizedExample:
    """A reading example in word pieces.

    Attributes:
        question_ids: Pieces of the question.
        title_ids: Pieces of the passage's title.
        body_ids: Pieces of the passage.
        spans: First and last piece (inclusive) of each distinct answer.
        passage: Number of the passage; examples about the same one share it.
        title: Title of the passage, which marks passages of one document.
        hard_negatives: Blocks that look like the passage and do not answer.
    """

    question_ids: list[int]
    title_ids: list[int]
    body_ids: list[int]
    spans: tuple[tuple[int, int], ...]
    passage: int
    title: str
    hard_negatives: tuple[TokenizedBlock, ...] = ()


def is_kept_aside(title: str, one_in: int) -> bool:
    """Whether a document is kept out of training: about one title in `one_in`, by digest; none if 0."""
    return one_in > 0 and int(sha256_of_text(title)[:8], 16) % one_in == 0


def split_paths(items: Sequence[str]) -> list[tuple[Path, int, float]]:
    """Parse sources of a recipe: `path`, optionally `;keep_aside=N` and `;share=F`."""
    sources = []
    for item in items:
        path, *options = item.split(";")
        values = {key.strip(): value for key, _, value in (option.partition("=") for option in options)}
        if unknown := sorted(values.keys() - {"keep_aside", "share"}):
            raise RecipeError(f"{item!r}: unknown option {unknown[0]!r}; expected keep_aside=N or share=F.")
        try:
            keep_aside, share = int(values.get("keep_aside", "0")), float(values.get("share", "1"))
        except ValueError as exc:
            raise RecipeError(f"{item!r}: keep_aside takes a whole number and share a number.") from exc
        if keep_aside < 0 or not 0 < share < math.inf:
            raise RecipeError(f"{item!r}: keep_aside must not be negative, and share must be over 0.")
        sources.append((Path(path), keep_aside, share))
    return sources


def tokenize_examples(
    examples: Sequence[ReadingExample], tokenizer: PieceTokenizer, passages: dict[str, int], skipped: SkipReport
) -> Iterator[TokenizedExample]:
    """Word pieces and answer spans of examples; those whose answer no piece covers are left out.

    Args:
        examples: The examples.
        tokenizer: Of the model.
        passages: Numbers of passages seen so far; extended in place.
        skipped: Counts what is left out, as `answer_without_piece`.
    """
    questions = tokenizer.encode_batch([example.question.text for example in examples])
    titles = tokenizer.encode_batch([example.title for example in examples])
    contexts = tokenizer.encode_batch([example.context for example in examples])
    negatives = _tokenize_negatives(examples, tokenizer, passages)
    for example, question, title, context in zip(examples, questions, titles, contexts, strict=True):
        spans = {
            span
            for start, answer in zip(example.answer_starts, example.question.answers, strict=True)
            if (span := pieces_of_characters(context.offsets, start, start + len(answer))) is not None
        }
        if not spans:
            skipped.add("answer_without_piece", example.question.id)
        else:
            yield TokenizedExample(
                question.ids,
                title.ids,
                context.ids,
                tuple(sorted(spans)),
                passages.setdefault(example.context, len(passages)),
                example.title,
                tuple(negatives[block] for block in example.hard_negatives),
            )


def _tokenize_negatives(
    examples: Sequence[ReadingExample], tokenizer: PieceTokenizer, passages: dict[str, int]
) -> dict[tuple[str, str], TokenizedBlock]:
    """Hard negatives by title and text; one of several examples is tokenized once."""
    blocks = list(dict.fromkeys(block for example in examples for block in example.hard_negatives))
    titles = tokenizer.encode_batch([title for title, _ in blocks])
    texts = tokenizer.encode_batch([text for _, text in blocks])
    return {
        block: TokenizedBlock(title.ids, text.ids, passages.setdefault(block[1], len(passages)))
        for block, title, text in zip(blocks, titles, texts, strict=True)
    }


class ReadingPool:
    """Examples of several sources, drawn by share; a draw is a function of (seed, step).

    Args:
        sources: As in a recipe; see `split_paths`.
        data: Folder that relative paths start from.
        tokenizer: Of the model.
        seed: Of all draws.
        report: Is told how many examples cannot be used.

    Attributes:
        digests: Of the files, by their paths as the recipe has them.
        skipped: How many examples were left out, by reason.

    Raises:
        RecipeError: There is no source; a source has no usable example.
        SourceError: A source cannot be read.
    """

    def __init__(
        self, sources: Sequence[str], data: Path, tokenizer: PieceTokenizer, seed: int, report: JobReport = QUIET
    ) -> None:
        if not sources:
            raise RecipeError("sources is empty: name at least one reading file to train on.")
        self.passages: dict[str, int] = {}
        self._seed = seed
        self.skipped = SkipReport()
        self.digests: dict[str, str] = {}
        self.groups: list[list[TokenizedExample]] = []
        self._shares: list[float] = []
        for path, keep_aside, share in split_paths(sources):
            examples = [e for e in read_reading_examples(data / path) if not is_kept_aside(e.title, keep_aside)]
            group = list(tokenize_examples(examples, tokenizer, self.passages, self.skipped))
            if not group:
                left_out = f" ({self.skipped.summary()})" if self.skipped.total else ""
                raise RecipeError(f"{path} has no reading example to train on{left_out}.")
            self.groups.append(group)
            self._shares.append(share)
            self.digests[str(path)] = sha256_of_file(data / path)
        report.say_skipped("reading examples", self.skipped)
        self.bodies: list[list[int]] = [[] for _ in self.passages]
        self._passages_of_title: dict[str, set[int]] = {}
        for example in (example for group in self.groups for example in group):
            self.bodies[example.passage] = example.body_ids
            self._passages_of_title.setdefault(example.title, set()).add(example.passage)

    def __len__(self) -> int:
        return sum(map(len, self.groups))

    def draw(self, step: int, count: int) -> list[TokenizedExample]:
        """The examples of a step: each source by its share, without repetition within an epoch of the source."""
        turns = zip(self._drawn_among(step * count), self._drawn_among((step + 1) * count), strict=True)
        return [
            self._at(self.groups[number], number, turn)
            for number, (first, end) in enumerate(turns)
            for turn in range(first, end)
        ]

    def other_passage(self, example: TokenizedExample, choice: random.Random) -> list[int] | None:
        """Pieces of a passage that does not answer: a hard negative of the example if it has any, or else another
        passage of the same document that lacks the answer's pieces, if there is one.
        """
        if example.hard_negatives:
            return choice.choice(example.hard_negatives).body_ids
        others = sorted(self._passages_of_title[example.title] - {example.passage})
        choice.shuffle(others)
        answers = [example.body_ids[first : last + 1] for first, last in example.spans]
        return next((self.bodies[o] for o in others if not any(_contains(self.bodies[o], a) for a in answers)), None)

    def _drawn_among(self, count: int) -> list[int]:
        """How many of each source are among the first `count` examples of a run.

        Rounding is carried over steps. The last source takes its share of all, the one before its share of what is
        left, and so on: then the numbers add up to `count`, and none of them falls as `count` grows.
        """
        drawn = []
        for number in range(len(self._shares) - 1, 0, -1):
            left = round(count * (sum(self._shares[:number]) / sum(self._shares[: number + 1])))
            drawn.append(count - left)
            count = left
        return [count, *reversed(drawn)]

    def _at(self, group: list[TokenizedExample], number: int, position: int) -> TokenizedExample:
        epoch, place = divmod(position, len(group))
        return group[self._order(number, len(group), epoch)[place]]

    def _order(self, number: int, length: int, epoch: int) -> list[int]:
        key = (number, epoch)
        if getattr(self, "_cached_key", None) != key:
            self._cached_key = key
            self._cached_order = list(range(length))
            random.Random(f"{self._seed} {number} {epoch}").shuffle(self._cached_order)
        return self._cached_order


def _contains(pieces: Sequence[int], part: Sequence[int]) -> bool:
    return any(pieces[i : i + len(part)] == part for i in range(len(pieces) - len(part) + 1))
