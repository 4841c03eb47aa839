"""The job `pretrain` with sentences of another source than the corpus: files whose names others have marked."""

from __future__ import annotations

from pathlib import Path

import pytest
from pretrain_towns import town_documents, write_towns
from test_pretrain_job import examples_of, job_of, ready
from tiny_trunk import write_lines

from realm.training.distributed import Processes
from realm.training.pretrain import PretrainJob


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("towns")
    write_towns(found)
    return found


def marked_sentences(word: int) -> list[dict[str, object]]:
    """The first sentence of every other document, with the word of this number marked."""
    records: list[dict[str, object]] = []
    for number, document in enumerate(town_documents()[::2]):
        text = document["text"].split(". ")[0] + "."
        name = text.rstrip(".").split()[word]
        start = text.index(name)
        records.append(
            {"doc_id": number, "sent_text": text, "linguistic_ent": [[name, "GPE", start, start + len(name)]]}
        )
    return records


def marked_job(trunk: Path, folder: Path, run: Path, sentences: Path, **changes: object) -> PretrainJob:
    return ready(
        job_of(trunk, folder, run, sentences=str(sentences), held_out_share=0.0, evaluate_every_steps=0, **changes)
    )


@pytest.mark.parametrize("is_folder", [False, True])
def test_sentences_may_come_from_files_with_marked_names(
    trunk: Path, folder: Path, tmp_path: Path, is_folder: bool
) -> None:
    records = marked_sentences(word=4)
    path = write_lines(tmp_path / "marked.jsonl", records)
    if is_folder:
        path = tmp_path / "shards"
        path.mkdir()
        for name, part in (("1.jsonl", records[7:]), ("0.jsonl", records[:7])):
            write_lines(path / name, part)
    for _ in range(2):  # made, then found in the cache
        job = marked_job(trunk, folder, tmp_path / "run", path)
        for sentence, rows in examples_of(job, 0):
            masked = [i for i, piece in enumerate(sentence.ids) if piece == job._tokenizer.special_id("[MASK]")]
            assert masked == sentence.positions
            whole = list(sentence.ids)
            for position, target in zip(sentence.positions, sentence.targets, strict=True):
                whole[position] = target
            assert whole in [job._tokenizer.ids_of(str(record["sent_text"])) for record in records]
            assert len(rows) == 4


def test_file_with_the_same_sentences_and_other_names_gives_other_masks(
    trunk: Path, folder: Path, tmp_path: Path
) -> None:
    targets, digests = [], []
    for word in (4, 8):  # the town, then the year
        path = write_lines(tmp_path / "marked.jsonl", marked_sentences(word))
        job = marked_job(trunk, folder, tmp_path / f"run {word}", path)
        targets.append([sentence.targets for sentence, _ in examples_of(job, 0)])
        digests.append(job.parents()["sentences"])
    assert targets[0] != targets[1]
    assert digests[0] != digests[1]


@pytest.mark.parametrize("drop_origin", [True, False])
def test_a_block_that_holds_the_sentence_is_no_candidate(
    trunk: Path, folder: Path, tmp_path: Path, drop_origin: bool
) -> None:
    path = write_lines(tmp_path / "marked.jsonl", marked_sentences(word=4))
    job = marked_job(trunk, folder, tmp_path / "run", path, drop_origin=drop_origin, candidates=20)
    given_away = examples = 0
    for step in range(3):
        origins = job._sentences.draw(step, Processes())
        found = job._finder.find([job._collator.question(one) for one in origins.sentences], origins)
        for text, rows in zip(origins.texts, found.rows, strict=True):
            examples += rows is not None
            blocks = [found.blocks[row].text for row in (rows or [])[1:]]
            given_away += any(text in block for block in blocks)
    assert examples == 18
    assert (given_away == 0) == drop_origin


def test_marked_spans_that_cannot_be_used_are_told(
    trunk: Path, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ents = [["Ely", "GPE", 4, 7], ["Rome", "GPE", 0, 4]]
    records = [{"doc_id": n, "sent_text": f"The Ely bridge {n} is old.", "linguistic_ent": ents} for n in range(5)]
    path = write_lines(tmp_path / "marked.jsonl", records)
    job_of(trunk, folder, tmp_path / "run", sentences=str(path), held_out_share=0.0, evaluate_every_steps=0)
    assert "of 10 spans skipped 5: misplaced_span 5" in caplog.text


def test_titles_of_documents_may_help_to_find_names(trunk: Path, folder: Path, tmp_path: Path) -> None:
    title = "Bridge at Balcor"
    texts = ("People built the Bridge at Balcor near a river.", "It is a mill by the river.", "A church is here.")
    path = write_lines(tmp_path / "titled.jsonl", [{"title": title, "text": text} for text in texts])
    found = []
    for tagger in ("rules", "rules:titles"):
        job = job_of(
            trunk, folder, tmp_path / "run", corpus=str(path), tagger=tagger, held_out_share=0.0, evaluate_every_steps=0
        )
        salient = job._sources.sentences.salient
        assert salient is not None
        found.append([texts[0][span.start : span.end] for one in salient.sentences(0) for span in one.spans])
    assert title not in found[0]
    assert title in found[1]
