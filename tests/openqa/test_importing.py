"""What others have published becomes a knowledge base, or nothing does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import digests, stories, write_jsonl, write_tiny_model

from realm.errors import BusyError, ModelError, SourceError, UnsafeFileError, UsageError
from realm.interop.google_checkpoint import save_google_checkpoint
from realm.interop.google_folder import GoogleFolder
from realm.interop.huggingface_folder import HuggingfaceFolder
from realm.interop.legacy_records import write_block_records
from realm.interop.tensorflow_bundle_writer import write_bundle
from realm.interop.tfrecord import write_tfrecord
from realm.openqa import importing
from realm.openqa.ask import OpenQA
from realm.openqa.importing import import_release
from realm.openqa.indexing import index_sources
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.model_folder import ModelFolder
from realm.openqa.writer import KnowledgeBaseWriter

ROWS = 23
TEXTS = [story.text for story in stories(ROWS)]


def block_emb(rows: int = ROWS) -> torch.Tensor:
    return torch.randn(rows, 16, generator=torch.Generator().manual_seed(7))


def write_release(folder: Path, tiny: Path, vectors: torch.Tensor | None = None) -> Path:
    """A folder as transformers 4.37.2 left it: the tiny model with `block_emb` inside, and block records."""
    shutil.copytree(tiny, folder)
    state = load_file(folder / "model.safetensors")
    save_file({**state, "block_emb": block_emb() if vectors is None else vectors}, folder / "model.safetensors")
    write_block_records(folder / "block_records.npy", (text.encode() for text in TEXTS))
    return folder


@pytest.fixture
def release(tmp_path: Path, tiny_folder: Path) -> Path:
    return write_release(tmp_path / "release", tiny_folder)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "_ROWS_PER_STEP", 10)


def all_vectors(kb: KnowledgeBase) -> np.ndarray:
    return kb.vectors.take(np.arange(kb.vectors.rows))


def test_vectors_texts_and_weights_are_those_of_the_release(release: Path, tmp_path: Path) -> None:
    report = import_release(HuggingfaceFolder.open(release), tmp_path / "kb")
    assert (report.documents, report.blocks) == (ROWS, ROWS)
    kb = KnowledgeBase.open(tmp_path / "kb")
    kb.verify()
    np.testing.assert_array_equal(all_vectors(kb), block_emb().half().float().numpy())
    blocks = [stored.block for stored in kb.take_blocks(range(ROWS))]
    assert [block.text for block in blocks] == TEXTS
    for row, block in enumerate(blocks):
        document = kb.document(str(row))
        assert document.text == TEXTS[row] == document.text[block.start : block.end]
        assert block.document_id == str(row)
    assert len({block.id for block in blocks}) == ROWS
    model = load_file(tmp_path / "kb-model" / "model.safetensors")
    given = load_file(release / "model.safetensors")
    assert model.keys() == given.keys() - {"block_emb"}
    assert all(torch.equal(model[name], given[name]) for name in model)


def test_word_pieces_are_what_the_tokenizer_makes_of_the_texts(
    release: Path, tmp_path: Path, tiny: ModelFolder
) -> None:
    write_tfrecord(release / "titles.tfr", [f"Title {row} of Zürich".encode() for row in range(ROWS)])
    import_release(HuggingfaceFolder.open(release), tmp_path / "kb")
    for stored in KnowledgeBase.open(tmp_path / "kb").take_blocks(range(ROWS)):
        assert list(stored.block.token_ids) == tiny.tokenizer.ids_of(stored.block.text)
        assert stored.block.title == f"Title {stored.row} of Zürich"
        assert list(stored.title_ids) == tiny.tokenizer.ids_of(stored.block.title)


def test_an_imported_knowledge_base_answers_and_takes_more_documents(release: Path, tmp_path: Path) -> None:
    kb = tmp_path / "kb"
    import_release(HuggingfaceFolder.open(release), kb, tmp_path / "elsewhere")
    answer = OpenQA.load(kb).ask("Who was the king of Paris?", top=3)
    question = OpenQA.load(kb).model
    vector = question.embed([question.inputs.question(question.tokenizer.ids_of("Who was the king of Paris?"), 130)])
    best = np.argsort(-(block_emb().half().float().numpy() @ vector[0]), kind="stable")[:3]
    assert [evidence.document_id for evidence in answer.evidence] == [str(row) for row in best]
    more = write_jsonl(tmp_path / "more.jsonl", stories(3, seed=9))
    index_sources(kb, [more], ModelFolder.open(str(tmp_path / "elsewhere")))
    assert KnowledgeBase.open(kb).live_blocks > ROWS


def test_googles_release_gives_the_same_knowledge_base(release: Path, tmp_path: Path) -> None:
    google = tmp_path / "google"
    google.mkdir()
    state = load_file(release / "model.safetensors")
    save_google_checkpoint(
        {k: v for k, v in state.items() if k != "block_emb"}, google / "m.ckpt-9", "openqa", "finetuned"
    )
    write_bundle(google / "encoded.ckpt", [("block_emb", block_emb().numpy())])
    write_tfrecord(google / "blocks.tfr", [text.encode() for text in TEXTS])
    (google / "bert_config.json").write_text('{"num_attention_heads": 2}')
    shutil.copy(release / "vocab.txt", google)
    import_release(GoogleFolder.open(google), tmp_path / "kb")
    import_release(HuggingfaceFolder.open(release), tmp_path / "other")
    ours, other = KnowledgeBase.open(tmp_path / "kb"), KnowledgeBase.open(tmp_path / "other")
    np.testing.assert_array_equal(all_vectors(ours), all_vectors(other))
    assert [s.block for s in ours.take_blocks(range(ROWS))] == [s.block for s in other.take_blocks(range(ROWS))]
    OpenQA.load(tmp_path / "kb").ask("Who was king?", top=2)


def break_rows(release: Path, row: int, value: float) -> None:
    state = load_file(release / "model.safetensors")
    state["block_emb"][row, 3] = value
    save_file(state, release / "model.safetensors")


def drop_weight(release: Path) -> None:
    state = load_file(release / "model.safetensors")
    del state["reader.qa_outputs.dense_output.weight"]
    save_file(state, release / "model.safetensors")


def cut_records(release: Path) -> None:
    path = release / "block_records.npy"
    path.write_bytes(path.read_bytes()[:-300])


def hostile_records(release: Path) -> None:
    path = release / "block_records.npy"
    path.write_bytes(path.read_bytes()[:-3] + b"cos\nsystem\n.")


def wrong_layers(release: Path) -> None:
    path = release / "config.json"
    path.write_text(path.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 1000000000'))


@pytest.mark.parametrize(
    ("damage", "kind", "says"),
    [
        (lambda release: break_rows(release, 15, float("nan")), ModelError, "row 15 .*NaN"),
        (lambda release: break_rows(release, 22, 70000.0), ModelError, "row 22 .*over 65,504"),
        (drop_weight, ModelError, "lacks 1 weights of a RealmForOpenQA"),
        (cut_records, SourceError, "block_records"),
        (hostile_records, UnsafeFileError, "os.system"),
        (wrong_layers, ModelError, "num_hidden_layers=1000000000"),
        (lambda release: write_tfrecord(release / "titles.tfr", [b"t"] * 22), SourceError, "22 records, .* 23 rows"),
    ],
)
def test_damage_on_the_way_is_said_and_leaves_nothing_behind(
    release: Path, tmp_path: Path, damage: Callable[[Path], None], kind: type[Exception], says: str
) -> None:
    damage(release)
    with pytest.raises(kind, match=says):
        import_release(HuggingfaceFolder.open(release), tmp_path / "kb")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["release"]


def test_what_another_process_writes_is_not_replaced(release: Path, tmp_path: Path, tiny: ModelFolder) -> None:
    kb = tmp_path / "kb"
    index_sources(kb, [write_jsonl(tmp_path / "stories.jsonl", stories(2))], tiny)
    with KnowledgeBaseWriter(kb, tiny.reference, 16, 288):
        before = digests(kb)
        with pytest.raises(BusyError):
            import_release(HuggingfaceFolder.open(release), kb, force=True)
        assert digests(kb) == before
    import_release(HuggingfaceFolder.open(release), kb, force=True)
    assert KnowledgeBase.open(kb).manifest.documents == ROWS


def test_a_knowledge_base_that_was_moved_away_by_a_killed_process_is_there_when_it_is_opened(
    tmp_path: Path, tiny: ModelFolder
) -> None:
    kb = tmp_path / "kb"
    index_sources(kb, [write_jsonl(tmp_path / "stories.jsonl", stories(2))], tiny)
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    kb.rename(tmp_path / f".kb.{int(dead.stdout)}.old")
    assert KnowledgeBase.open(kb).manifest.documents == 2


def test_what_is_there_is_replaced_only_by_force_and_never_by_a_failure(release: Path, tmp_path: Path) -> None:
    kb = tmp_path / "kb"
    import_release(HuggingfaceFolder.open(release), kb)
    before = digests(tmp_path)
    with pytest.raises(UsageError, match=r"kb is there already.*--force"):
        import_release(HuggingfaceFolder.open(release), kb)
    break_rows(release, 20, float("inf"))
    with pytest.raises(ModelError, match="infinite"):
        import_release(HuggingfaceFolder.open(release), kb, force=True)
    changed = {name for name, digest in digests(tmp_path).items() if before.get(name) != digest}
    assert changed == {"release/model.safetensors"}
    break_rows(release, 20, 1.0)
    import_release(HuggingfaceFolder.open(release), kb, force=True)
    assert all_vectors(KnowledgeBase.open(kb))[20, 3] == 1.0


def test_folders_in_one_another_are_refused(release: Path, tmp_path: Path) -> None:
    opened = HuggingfaceFolder.open(release)
    for kb, model_out in (
        (release, None),
        (tmp_path, None),
        (tmp_path / "kb", release),
        (tmp_path / "a", tmp_path / "a/b"),
    ):
        with pytest.raises(UsageError, match="in one another"):
            import_release(opened, kb, model_out, force=True)


def test_progress_counts_the_rows(release: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, int]] = []
    import_release(HuggingfaceFolder.open(release), tmp_path / "kb", progress=lambda *told: seen.append(told[:3]))
    assert seen == [(10, ROWS, 10), (20, ROWS, 20), (23, ROWS, 23)]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows_in_and_out(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model", retriever_proj_size=64)
    program = Path(__file__).with_name("import_in_bounded_memory.py")
    run = subprocess.run(
        [sys.executable, str(program), str(tmp_path / "work"), str(model), "100000"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["rows"] == 100_000
    # Held as Python objects, the blocks alone would take over 200 MB.
    assert found["exported_mb"] - found["before_mb"] < 120, found
