"""The service without HTTP: many askers, one version at a time, and how versions change."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tiny_model import stories, write_jsonl
from waiting import QUICK, eventually, figure

from realm.errors import BusyError, KnowledgeBaseError, QuestionError, UsageError
from realm.openqa.ask import OpenQA, Searching
from realm.openqa.compaction import compact
from realm.openqa.indexing import index_sources, remove_documents
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.model_folder import ModelFolder
from realm.openqa.write_lock import take_lock
from realm.records import Answer, Document, Evidence
from realm.serving.failures import NotFoundError, ReadOnlyError, TimedOutError, UnavailableError
from realm.serving.questions import Answered
from realm.serving.service import Service

QUESTIONS = [f"who found the {word} in {place}?" for word in ("gold", "ship", "clock") for place in ("rome", "paris")]


def assert_same(found: Sequence[Answer], expected: Sequence[Answer]) -> None:
    """The same answers from the same evidence; numbers may differ by what rounding in other batches makes."""
    for one, other in zip(found, expected, strict=True):
        places = [[(each.block_id, each.start, each.end) for each in answer.evidence] for answer in (one, other)]
        assert (one.question, one.text, places[0]) == (other.question, other.text, places[1])
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)


def hold(service: Service) -> list[Future[None]]:
    """Keep the model's thread at work for a moment, so that requests gather."""
    return [service._batcher.call(lambda: time.sleep(0.1)) for _ in range(2)]


def test_answers_to_many_at_once_are_those_to_each_alone(shared: Service, reference: OpenQA) -> None:
    hold(shared)
    futures = [
        shared.ask([question], top=top, min_confidence=least, searching=Searching(hybrid=hybrid))
        for question in QUESTIONS
        for top, least, hybrid in ((1, 0.0, None), (3, None, False), (3, 0.99, None))
    ]
    several = shared.ask(QUESTIONS, top=2)
    found = shared.search(QUESTIONS, top=4)
    alone = [
        reference.ask(question, top=top, min_confidence=least, searching=Searching(hybrid=hybrid))
        for question in QUESTIONS
        for top, least, hybrid in ((1, 0.0, None), (3, None, False), (3, 0.99, None))
    ]
    assert_same([future.result(30).answers[0] for future in futures], alone)
    assert_same(several.result(30).answers, [reference.ask(question, top=2) for question in QUESTIONS])
    ids = [[one.block_id for one in evidence] for evidence in found.result(30).evidence]
    assert ids == [[one.block_id for one in evidence] for evidence in reference.retrieve(QUESTIONS, 4)]
    assert figure(shared, 'realm_batch_questions_bucket{le="1.0"}') < figure(shared, "realm_batch_questions_count")


def test_evidence_is_told_before_it_is_read_and_is_the_answers(shared: Service) -> None:
    told: list[tuple[int, list[tuple[Evidence, ...]], bool]] = []
    future: Future[Answered] = shared.ask(
        QUESTIONS[:2], top=3, on_evidence=lambda version, found: told.append((version, list(found), future.done()))
    )
    answered = future.result(30)
    [(version, evidence, was_done)] = told
    assert (version, was_done) == (answered.version, False)
    assert [[one.block_id for one in each] for each in evidence] == [
        [one.block_id for one in answer.evidence] for answer in answered.answers
    ]


def test_a_bad_question_spoils_nobody_elses(shared: Service) -> None:
    hold(shared)
    good = [shared.ask([question]) for question in QUESTIONS]
    bad = [shared.ask([" "]), shared.ask(["word " * 300])]
    condition = shared.ask(["who?"], searching=Searching(where="no such"))
    assert all(future.result(30).answers[0].evidence for future in good)
    for future in bad:
        with pytest.raises(QuestionError):
            future.result(30)
    with pytest.raises(UsageError):
        condition.result(30)
    with pytest.raises(UsageError):
        shared.ask(["who?"], searching=Searching(hybrid=False, weight=0.5))


def test_a_question_whose_time_is_over_is_told_so(made_once: Path) -> None:
    with Service(made_once, limits=replace(QUICK, timeout_seconds=0.0)) as service, pytest.raises(TimedOutError):
        service.ask(["who?"]).result(30)


def test_documents_come_and_go_and_the_next_answer_knows(writable: Service, kb: Path) -> None:
    new = Document("new/1", "Zürich", "The old king of Zürich found the gold.", "a letter", {"year": "1990"})
    written = writable.put([new, *stories(2)]).result(30)
    assert (written.version, written.added, written.updated, written.unchanged) == (2, 1, 0, 2)
    answered = writable.ask(["who found the gold?"], searching=Searching(where="year >= 1990")).result(30)
    assert (answered.version, [one.document_id for one in answered.answers[0].evidence]) == (2, ["new/1"])
    found = writable.document("new/1").result(30)
    assert (found.document, found.version) == (replace(new, source="put:a letter"), 2)

    written = writable.put([replace(new, text="The young queen.")]).result(30)
    assert (written.version, written.updated) == (3, 1)
    assert writable.document("new/1").result(30).document.text == "The young queen."
    assert writable.document("new/1", 2).result(30).document == replace(new, source="put:a letter")
    with pytest.raises(NotFoundError):
        writable.document("new/1", 1).result(30)
    with pytest.raises(NotFoundError):
        writable.document("new/1", 9).result(30)

    assert writable.delete("new/1").result(30).version == 4
    with pytest.raises(NotFoundError):
        writable.document("new/1").result(30)
    with pytest.raises(NotFoundError):
        writable.delete("new/1").result(30)
    base = KnowledgeBase.open(kb)
    base.verify()
    assert (base.manifest.version, base.manifest.documents) == (4, 8)
    assert figure(writable, 'realm_swaps_total{result="done"}') == 3
    assert figure(writable, "realm_knowledge_base_version") == 4


def test_what_is_put_is_what_realm_index_makes_of_it(writable: Service, kb: Path, made_once: Path, model: ModelFolder,
                                                     tmp_path: Path) -> None:  # fmt: skip
    documents = stories(14)
    writable.put(documents).result(60)
    index_sources(tmp_path / "other", [write_jsonl(tmp_path / "all.jsonl", documents)], model)
    served, indexed = KnowledgeBase.open(kb), KnowledgeBase.open(tmp_path / "other")
    vectors = []
    for base in (served, indexed):
        rows = range(base.manifest.blocks)
        blocks = base.take_blocks(rows)
        vectors.append({one.block.id: vector for one, vector in zip(blocks, base.vectors.take(rows), strict=True)})
    assert vectors[0].keys() == vectors[1].keys()
    for id, vector in vectors[0].items():
        assert vector == pytest.approx(vectors[1][id], abs=0.01)


def test_the_list_of_documents_goes_through_all_of_them(writable: Service) -> None:
    writable.put(stories(11)).result(30)
    writable.delete("story/3").result(30)
    found: list[str] = []
    start: int | None = 0
    while start is not None:
        page = writable.documents(start, 3).result(30)
        assert (page.version, page.total) == (3, 10)
        found += [one.id for one in page.documents]
        start = page.next_start
    assert sorted(found) == sorted(f"story/{number}" for number in range(11) if number != 3)
    assert writable.documents(10, 3).result(30).documents == ()


def test_a_service_that_only_reads_changes_nothing(shared: Service) -> None:
    for change in (lambda: shared.put(stories(1)), lambda: shared.delete("story/1")):
        with pytest.raises(ReadOnlyError, match="--writable"):
            change()


def test_another_writer_is_waited_for_by_whoever_asked(writable: Service, kb: Path) -> None:
    with take_lock(kb):
        with pytest.raises(BusyError):
            writable.put(stories(9)).result(30)
        with pytest.raises(BusyError):
            writable.delete("story/1").result(30)
    assert writable.put(stories(9)).result(30).added == 1


def test_a_version_made_by_another_process_is_moved_to(writable: Service, kb: Path, model: ModelFolder,
                                                      tmp_path: Path) -> None:  # fmt: skip
    before = writable.library.current.model
    index_sources(kb, [write_jsonl(tmp_path / "more.jsonl", stories(10))], model)
    eventually(lambda: writable.library.current.knowledge_base.manifest.version == 2)
    assert writable.ask(["who?"]).result(30).version == 2
    assert writable.library.current.model is before  # in memory once, however many versions there are


def test_another_model_of_the_same_embedder_answers_and_still_does_in_the_next_version(
    kb: Path, model: ModelFolder, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(model.folder, tmp_path / "tuned"))
    weights = load_file(folder / "model.safetensors")
    for name in weights:
        if name.startswith("reader.") and name.endswith("weight"):
            weights[name] = weights[name].flip(0).contiguous()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with Service(kb, limits=QUICK, is_writable=True, model=str(folder)) as service:
        for _ in range(2):
            expected = [OpenQA.load(kb, str(folder)).ask(question, top=2) for question in QUESTIONS]
            others = [OpenQA.load(kb).ask(question, top=2) for question in QUESTIONS]
            assert [answer.confidence for answer in expected] != [answer.confidence for answer in others]
            assert_same(service.ask(QUESTIONS, top=2).result(30).answers, expected)
            service.put([Document("new", "Rome", "The gold was found by Ada in Rome.")]).result(30)


def test_a_version_that_cannot_be_opened_leaves_the_old_one_answering(writable: Service, kb: Path) -> None:
    good = (kb / "kb.json").read_bytes()
    eventually(lambda: writable.library.is_ready)
    (kb / "kb.json").write_text(json.dumps({"format": 2, "version": 7}), encoding="utf-8")
    eventually(lambda: writable.library.is_behind)
    assert writable.ask(["who?"]).result(30).version == 1
    assert figure(writable, 'realm_swaps_total{result="failed"}') >= 1
    (kb / "kb.json").write_bytes(good)
    eventually(lambda: not writable.library.is_behind)
    remove_documents(kb, ["story/1"])
    eventually(lambda: writable.ask(["who?"]).result(30).version == 2)


def test_a_folder_that_is_gone_is_told_without_its_path(writable: Service, kb: Path) -> None:
    eventually(lambda: writable.library.is_ready)
    shutil.rmtree(kb)
    failed = writable.document("story/100").exception(30)
    assert isinstance(failed, UnavailableError | NotFoundError)
    failed = writable.ask(["who?"]).exception(30)
    assert failed is None or (isinstance(failed, UnavailableError) and str(kb) not in str(failed))


def test_a_version_that_was_dropped_fails_no_question(kb: Path) -> None:
    # Nobody looks for newer versions here: the question itself finds that its version is not whole any more.
    with Service(kb, limits=replace(QUICK, poll_seconds=1000.0)) as service:
        eventually(lambda: service.library.is_ready)
        remove_documents(kb, ["story/1"])
        compact(kb)
        told: list[int] = []
        answered = service.ask(QUESTIONS, on_evidence=lambda version, _: told.append(version)).result(30)
        assert answered.version == told[-1]
        assert all(answer.evidence for answer in answered.answers)
        assert service.document("story/2").result(30).document.text == stories(3)[2].text


def test_closing_finishes_questions_and_changes_that_were_accepted(kb: Path) -> None:
    service = Service(kb, limits=QUICK, is_writable=True).start()
    hold(service)
    asked = [service.ask([question]) for question in QUESTIONS]
    put = service.put(stories(10))
    service.close()
    assert all(future.result(0).answers[0].evidence for future in asked)
    assert put.result(0).added == 2
    assert KnowledgeBase.open(kb).manifest.documents == 10


def test_a_folder_without_a_knowledge_base_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeBaseError, match="No knowledge base"):
        Service(tmp_path / "none")
