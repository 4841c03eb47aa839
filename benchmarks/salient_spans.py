"""How well taggers find names, and how fast.

    python benchmarks/salient_spans.py FILE [--model FOLDER...] [--spacy NAME...] [--titles SOURCE] [--speed SOURCE]

FILE is CoNLL (`token … TAG` a line, blank lines between sentences, `-DOCSTART-` between documents), plain or .zst.
Prints precision, recall and F1 of names with exactly the right characters, whatever their kind, for the even documents
(on which the rules were written) and the odd ones (on which nothing was tuned). Dates are left out: such files do not
mark them. `--titles` adds the rules with the titles, and with the words in small letters, of these documents; `--speed`
measures megabytes of UTF-8 text per second of processor time on the first 200 documents of a source.

The text is put together again from its tokens: a space between them but at punctuation, sentences in a row, a line
break behind those that do not end like one. A name is the tokens in a row with one tag, as in the I- scheme of 2003, or
from a B- tag on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from realm.corpus.lines import open_source
from realm.corpus.readers import read_documents
from realm.text.corpus_words import TitleSet, words_in_small_letters
from realm.text.names import RuleTagger
from realm.text.salient import DATE, Tagger, salient_sentences

Token = tuple[str, str]
Span = tuple[int, int]

_NO_SPACE_BEFORE = frozenset(". , ; : ! ? ) ] % ' 's n't 're 've 'll 'd 'm".split())
_NO_SPACE_AFTER = frozenset("( [ $ #".split())
_SPEED_DOCUMENTS = 200
_WORD_DOCUMENTS = 1000


def read_conll(path: Path) -> Iterator[list[list[Token]]]:
    """Documents as sentences of tokens with their tags."""
    document: list[list[Token]] = []
    sentence: list[Token] = []
    with open_source(path) as file:
        for line in file:
            fields = line.decode("utf-8").split()
            if fields and fields[0] != "-DOCSTART-":
                sentence.append((fields[0], fields[-1]))
                continue
            if sentence:
                document.append(sentence)
                sentence = []
            if fields and document:
                yield document
                document = []
    if sentence:
        document.append(sentence)
    if document:
        yield document


def text_and_names(document: Sequence[Sequence[Token]]) -> tuple[str, set[Span]]:
    """The text of a document and the characters of its names."""
    text, names = "", list[Span]()
    for sentence in document:
        if text:
            text += " " if text.rstrip("\"')")[-1:] in ".!?" else "\n"
        is_tight, is_quoting, last = True, False, "O"
        for word, tag in sentence:
            closes = word == '"' and is_quoting
            if not (is_tight or closes or word in _NO_SPACE_BEFORE):
                text += " "
            start = len(text)
            text += word
            is_quoting ^= word == '"'
            is_tight = word in _NO_SPACE_AFTER or (word == '"' and is_quoting)
            if tag != "O" and last[2:] == tag[2:] and last != "O" and not tag.startswith("B-"):
                names[-1] = (names[-1][0], len(text))
            elif tag != "O":
                names.append((start, len(text)))
            last = tag
    return text, set(names)


def report(name: str, tagger: Tagger, documents: Sequence[tuple[str, set[Span]]]) -> None:
    """Print the figures of a tagger on both halves."""
    for half, part in (("even", documents[::2]), ("odd", documents[1::2])):
        found = [{(s.start, s.end) for s in spans if s.kind != DATE} for spans in tagger.spans([t for t, _ in part])]
        right = sum(len(spans & names) for spans, (_, names) in zip(found, part, strict=True))
        precision = right / max(1, sum(map(len, found)))
        recall = right / max(1, sum(len(names) for _, names in part))
        f1 = 2 * precision * recall / max(1e-9, precision + recall)
        print(f"{name:28} {half:5} documents {len(part):4}  P {precision:.3f}  R {recall:.3f}  F1 {f1:.3f}")


def report_speed(name: str, tagger: Tagger, texts: Sequence[str]) -> None:
    """Print how fast a tagger is, alone and with sentences and dates."""
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    for what, work in (("spans", tagger.spans), ("sentences", lambda some: salient_sentences(some, tagger))):
        begin = time.process_time()
        for text in texts:
            work([text])
        print(f"{name:28} {what:10} {megabytes / (time.process_time() - begin):.2f} MB/s of {megabytes:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", type=Path, nargs="*", default=[])
    parser.add_argument("--spacy", nargs="*", default=[])
    parser.add_argument("--titles", type=Path)
    parser.add_argument("--speed", type=Path)
    options = parser.parse_args()
    taggers: dict[str, Tagger] = {"rules": RuleTagger()}
    if options.titles:
        titles = TitleSet(document.title for document in read_documents([options.titles]))
        sample = islice(read_documents([options.titles]), _WORD_DOCUMENTS)
        words = words_in_small_letters(document.text for document in sample)
        print(f"{len(titles):,} titles of several words; {len(words):,} words in small letters")
        taggers |= {"rules, titles": RuleTagger(titles=titles), "rules, words": RuleTagger(words)}
    if options.model or options.spacy:
        from realm.training.taggers import SpacyTagger, TokenClassificationTagger

        taggers |= {str(folder): TokenClassificationTagger(folder) for folder in options.model}
        taggers |= {str(name): SpacyTagger(name) for name in options.spacy}
    documents = [text_and_names(document) for document in read_conll(options.file)]
    for name, tagger in taggers.items():
        report(name, tagger, documents)
    if options.speed:
        texts = [document.text for document in islice(read_documents([options.speed]), _SPEED_DOCUMENTS)]
        for name, tagger in taggers.items():
            report_speed(name, tagger, texts)


if __name__ == "__main__":
    main()
