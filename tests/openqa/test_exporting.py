"""Knowledge bases in other formats; numpy, pickle, safetensors and pyarrow read them back."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import digests, stories, write_jsonl

from realm.errors import KnowledgeBaseError, UsageError
from realm.interop.huggingface_folder import HuggingfaceFolder
from realm.openqa.ask import OpenQA, Searching
from realm.openqa.exporting import export_blocks, export_huggingface, export_vectors
from realm.openqa.importing import import_release
from realm.openqa.indexing import index_sources, remove_documents
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.model import RealmForOpenQA
from realm.openqa.model_folder import ModelFolder
from realm.openqa.retriever import RealmRetriever

GONE = ["story/0", "story/5", "story/11"]


@pytest.fixture(scope="module")
def kb(tmp_path_factory: pytest.TempPathFactory, shared_kb: Path) -> Path:
    """The shared knowledge base without its first, its last and a middle document."""
    folder = shutil.copytree(shared_kb, tmp_path_factory.mktemp("exports") / "kb")
    remove_documents(folder, GONE)
    return folder


@pytest.fixture(scope="module")
def exported(kb: Path) -> Path:
    export_huggingface(kb, kb.parent / "hf")
    return kb.parent / "hf"


def live_rows(base: KnowledgeBase) -> np.ndarray:
    return np.setdiff1d(np.arange(base.manifest.blocks), base.tombstones)


def vectors_of(base: KnowledgeBase) -> np.ndarray:
    return base.vectors.take(live_rows(base))


def test_records_and_vectors_leave_out_the_same_rows(kb: Path, exported: Path) -> None:
    base = KnowledgeBase.open(kb)
    with (exported / "block_records.npy").open("rb") as file:
        assert np.lib.format.read_magic(file) == (1, 0)
        np.lib.format.read_array_header_1_0(file)
        records = pickle.load(file)  # as transformers 4.37.2 does
    blocks = [stored.block for stored in base.take_blocks(live_rows(base))]
    assert not {block.document_id for block in blocks} & set(GONE)
    assert [record.decode() for record in records] == [block.text for block in blocks]
    emb = load_file(exported / "model.safetensors")["block_emb"]
    assert emb.dtype == torch.float32
    np.testing.assert_array_equal(emb.numpy(), vectors_of(base))
    assert json.loads((exported / "config.json").read_text())["num_block_records"] == len(blocks) == base.live_blocks


def test_weights_and_word_pieces_are_those_of_the_model(exported: Path, tiny: ModelFolder) -> None:
    found, given = load_file(exported / "model.safetensors"), load_file(tiny.folder / "model.safetensors")
    assert found.keys() - {"block_emb"} == given.keys()
    assert all(torch.equal(found[name], given[name]) for name in given)
    assert (exported / "vocab.txt").read_bytes() == (tiny.folder / "vocab.txt").read_bytes()
    assert json.loads((exported / "tokenizer_config.json").read_text())["tokenizer_class"].startswith("RealmTokenizer")


def test_the_export_retrieves_what_the_knowledge_base_does(kb: Path, exported: Path, tiny: ModelFolder) -> None:
    model = RealmForOpenQA.from_pretrained(exported, retriever=RealmRetriever.from_pretrained(exported)).eval()
    base = KnowledgeBase.open(kb)
    live = live_rows(base).tolist()
    question = tiny.inputs.question(tiny.tokenizer.ids_of("Who found the castle in Zürich?"), 130)
    vector = tiny.embed([question])
    expected = [live.index(row) for row in base.search(vector, 3).rows[0]]
    scores = model.block_emb @ torch.from_numpy(vector[0])
    assert scores.topk(3).indices.tolist() == expected
    with torch.no_grad():
        output = model(torch.tensor([question.ids]), return_dict=True)
    assert output.reader_output.block_idx in range(3)


def test_import_of_an_export_is_the_same_and_exports_to_the_same_bytes(
    exported: Path, kb: Path, tmp_path: Path
) -> None:
    import_release(HuggingfaceFolder.open(exported), tmp_path / "kb")
    again, base = KnowledgeBase.open(tmp_path / "kb"), KnowledgeBase.open(kb)
    again.verify()
    np.testing.assert_array_equal(vectors_of(again), vectors_of(base))
    was = [stored.block for stored in base.take_blocks(live_rows(base))]
    now = [stored.block for stored in again.take_blocks(range(len(was)))]
    assert [(block.title, block.text, block.token_ids) for block in now] == [
        (block.title, block.text, block.token_ids) for block in was
    ]
    assert again.manifest.model.digest == base.manifest.model.digest
    export_huggingface(tmp_path / "kb", tmp_path / "hf")
    assert digests(tmp_path / "hf") == digests(exported)


@pytest.mark.parametrize("token_ids", [True, False])
@pytest.mark.parametrize("ending", [".parquet", ".jsonl", ".jsonl.zst"])
def test_block_files_hold_the_blocks_in_the_order_of_the_vectors(
    kb: Path, tmp_path: Path, ending: str, token_ids: bool
) -> None:
    out = tmp_path / f"blocks{ending}"
    report = export_blocks(kb, out, token_ids=token_ids)
    if ending == ".parquet":
        rows = pyarrow.parquet.read_table(out).to_pylist()
    else:
        with pyarrow.input_stream(str(out), compression="zstd" if ending.endswith("zst") else None) as file:
            rows = [json.loads(line) for line in file.read().decode().splitlines()]
    base = KnowledgeBase.open(kb)
    expected = []
    for stored in base.take_blocks(live_rows(base)):
        block = stored.block
        row = {name: getattr(block, name) for name in ("id", "document_id", "title", "text", "start", "end")}
        if token_ids:
            row |= {"token_ids": list(block.token_ids), "title_ids": list(stored.title_ids)}
        expected.append(row)
    assert rows == expected
    assert [list(row) for row in rows] == [list(row) for row in expected]
    assert report.rows == len(rows)


def test_vectors_are_a_matrix_that_numpy_maps(kb: Path, tmp_path: Path) -> None:
    export_vectors(kb, tmp_path / "v.npy")
    found = np.load(tmp_path / "v.npy", mmap_mode="r")
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found.astype(np.float32), vectors_of(KnowledgeBase.open(kb)))


@pytest.mark.parametrize("name", ["hf", "b.parquet", "v.npy"])
def test_what_is_there_is_replaced_only_by_force(kb: Path, tmp_path: Path, name: str) -> None:
    export = {"hf": export_huggingface, "b.parquet": export_blocks, "v.npy": export_vectors}[name]
    export(kb, tmp_path / name)
    before = digests(tmp_path)
    with pytest.raises(UsageError, match="is there already"):
        export(kb, tmp_path / name)
    export(kb, tmp_path / name, force=True)
    assert digests(tmp_path) == before


@pytest.mark.parametrize("name", ["hf", "b.jsonl", "v.npy"])
def test_an_error_on_the_way_leaves_nothing_behind(
    kb: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = {"hf": export_huggingface, "b.jsonl": export_blocks, "v.npy": export_vectors}[name]

    def break_off(*told: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(kb, tmp_path / name, progress=break_off)
    assert not list(tmp_path.iterdir())


def test_other_names_and_places_are_refused(kb: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"written as \.npy"):
        export_vectors(kb, tmp_path / "v.bin")
    with pytest.raises(UsageError, match="block files end in"):
        export_blocks(kb, tmp_path / "b.csv")
    for export, out in ((export_vectors, kb / "v.npy"), (export_blocks, kb / "kb.json"), (export_huggingface, kb)):
        with pytest.raises(UsageError, match="in one another"):
            export(kb, out, force=True)
    with pytest.raises(KnowledgeBaseError, match="No knowledge base"):
        export_vectors(tmp_path, tmp_path / "v.npy")


def test_progress_ends_at_the_total(kb: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    export_huggingface(kb, tmp_path / "hf", progress=lambda *told: seen.append(told[:2]))
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] == 3 * KnowledgeBase.open(kb).live_blocks


@pytest.fixture(scope="module")
def two_towers(tmp_path_factory: pytest.TempPathFactory, tiny: ModelFolder) -> ModelFolder:
    """A model as fine-tuning makes them: questions have an embedder of their own."""
    folder = shutil.copytree(tiny.folder, tmp_path_factory.mktemp("models") / "two")
    weights = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(5)
    weights |= {
        f"query_{name}": weight + 0.1 * torch.randn(weight.shape, generator=generator)
        for name, weight in weights.items()
        if name.startswith("embedder.")
    }
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "separate_query_embedder": True}), encoding="utf-8")
    return ModelFolder.open(str(folder))


def test_the_embedder_of_questions_goes_out_as_the_one_that_transformers_knows(
    two_towers: ModelFolder, tmp_path: Path
) -> None:
    index_sources(tmp_path / "kb", [write_jsonl(tmp_path / "stories.jsonl", stories(5))], two_towers)
    export_huggingface(tmp_path / "kb", tmp_path / "hf")
    import_release(HuggingfaceFolder.open(tmp_path / "hf"), tmp_path / "again")
    question = "Who wrote the opera?"
    row = two_towers.inputs.question(two_towers.tokenizer.ids_of(question), 64)
    expected = two_towers.embed([row], questions=True)
    assert not np.allclose(expected, two_towers.embed([row]), atol=0.1)
    exported = RealmForOpenQA.from_pretrained(tmp_path / "hf")
    assert exported.config.separate_query_embedder is False
    ids = torch.tensor([row.ids])
    with torch.inference_mode():
        found = exported.embedder(ids, return_dict=True).projected_score
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)
    by_vectors = Searching(hybrid=False)
    ours, theirs = (OpenQA.load(tmp_path / kb).ask(question, searching=by_vectors) for kb in ("kb", "again"))
    assert [one.text for one in ours.evidence] == [one.text for one in theirs.evidence]
    np.testing.assert_allclose([o.score for o in ours.evidence], [o.score for o in theirs.evidence], atol=1e-2)


def test_a_saved_model_with_two_embedders_comes_in_with_both(two_towers: ModelFolder, tmp_path: Path) -> None:
    index_sources(tmp_path / "kb", [write_jsonl(tmp_path / "stories.jsonl", stories(5))], two_towers)
    export_huggingface(tmp_path / "kb", tmp_path / "hf")
    weights = load_file(tmp_path / "hf" / "model.safetensors")
    weights |= {
        name: w for name, w in load_file(two_towers.folder / "model.safetensors").items() if "embedder." in name
    }
    save_file(weights, tmp_path / "hf" / "model.safetensors", {"format": "pt"})
    shutil.copy(two_towers.folder / "config.json", tmp_path / "hf" / "config.json")
    config = json.loads((tmp_path / "hf" / "config.json").read_text(encoding="utf-8"))
    config["num_block_records"] = KnowledgeBase.open(tmp_path / "kb").manifest.blocks
    (tmp_path / "hf" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    import_release(HuggingfaceFolder.open(tmp_path / "hf"), tmp_path / "again")
    model = OpenQA.load(tmp_path / "again").model
    row = model.inputs.question(model.tokenizer.ids_of("Who wrote the opera?"), 64)
    for questions in (True, False):
        np.testing.assert_allclose(
            model.embed([row], questions=questions), two_towers.embed([row], questions=questions), atol=1e-4
        )
