"""The way back: do folders that `realm` saves work in transformers 4.37.2? Two steps, one per environment.

    python tools/check_old_loads_new.py save /tmp/realm-saved
    /tmp/realm-goldens/bin/python tools/check_old_loads_new.py load /tmp/realm-saved

The second environment is the one `tools/make_goldens.py` describes. Step one saves a tiny model of every
class, both tokenizers and a retriever, with what they give for fixed inputs (RealmForOpenQA with `block_emb`
inside, as 4.37.2 needs it); step two loads each with the class of the same name, compares, and exits with 1
if anything differs by more than 2e-5.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from golden_store import fill_weights
from golden_weights import CONFIGS, floats, padded
from safetensors.torch import load_file, save_file

ALLOWED = 2e-5
VOCABULARY = Path(__file__).resolve().parents[1] / "tests" / "parity" / "goldens" / "vocabularies" / "corpus.txt"
RECORDS = ["The cat sat on the mat.", "The king lived in the old castle.", "The river flows to the sea."] * 10
NETWORKS = {
    "embedder": ("realm.models.embedder", "RealmEmbedder"),
    "scorer": ("realm.models.scorer", "RealmScorer"),
    "scorer_own": ("realm.models.scorer", "RealmScorer"),
    "encoder": ("realm.models.encoder", "RealmKnowledgeAugEncoder"),
    "reader": ("realm.models.reader", "RealmReader"),
    "openqa": ("realm.openqa.model", "RealmForOpenQA"),
}
TOKENIZERS = ("RealmTokenizer", "RealmTokenizerFast")
TEXTS = [
    "Who found the old book?",
    "caf\u00e9 CASTLE [SEP] zebra",
    "where is the cat's house, or the queen's?",
]


def inputs_of(kind: str) -> dict[str, Any]:
    """Keyword arguments for one call of a kind of network."""
    question = padded("question", [9, 6], 9)
    blocks = padded("blocks", [12, 12, 9, 7, 11, 12], 12)
    candidates = {f"candidate_{name}": value.view(2, 3, 12) for name, value in blocks.items()}
    if kind in ("scorer", "scorer_own"):
        return question | candidates
    if kind == "encoder":
        return {name: value.view(2, 3, 12) for name, value in blocks.items()}
    if kind == "reader":
        evidence = blocks["token_type_ids"][:2].bool()
        rows = {name: value[:2] for name, value in blocks.items()}
        place = torch.tensor([[5], [6]])
        gold = {
            "start_positions": place,
            "end_positions": place + 1,
            "has_answers": torch.tensor([True, False]),
        }
        return rows | gold | {"relevance_score": floats("relevance", 2), "block_mask": evidence}
    if kind == "openqa":
        return {"input_ids": torch.tensor([[4, 27, 16, 7, 8, 5]]), "answer_ids": [[7], [8], [37, 7]]}
    return question


def values_of(kind: str, output: Any) -> dict[str, torch.Tensor]:
    """The tensors of an output that are compared."""
    if kind == "openqa":
        reader = output.reader_output
        places = {"block": reader.block_idx, "start": reader.start_pos, "end": reader.end_pos}
        return {"answer": output.predicted_answer_ids, "loss": reader.loss, **places}
    return {name: value.contiguous() for name, value in output.items() if isinstance(value, torch.Tensor)}


def save(folder: Path) -> None:
    """Step one: our classes save."""
    configuration = import_module("realm.models.configuration")
    text = import_module("realm.text.tokenization")
    for kind, (module, name) in NETWORKS.items():
        config = configuration.RealmConfig(**CONFIGS["gelu"])
        own = {}
        if kind == "scorer_own":
            own = {"query_embedder": import_module(NETWORKS["embedder"][0]).RealmEmbedder(config)}
        if kind == "openqa":
            records = [record.encode() for record in RECORDS]
            tokenizer = text.RealmTokenizer(str(VOCABULARY))
            own = {"retriever": import_module("realm.openqa.retriever").RealmRetriever(records, tokenizer)}
        model = getattr(import_module(module), name)(config, **own)
        fill_weights(model, f"back/{kind}")
        inside = {}
        if kind == "openqa":
            model.block_emb = floats("block_emb", 30, config.retriever_proj_size)
            model.retriever.save_pretrained(folder / kind)
            inside = {"block_emb_inside": True}
        model.eval().save_pretrained(folder / kind, **inside)
        with torch.no_grad():
            found = values_of(kind, model(**inputs_of(kind)))
        save_file({name: value.clone() for name, value in found.items()}, folder / f"{kind}.safetensors")
    for name in TOKENIZERS:
        tokenizer = getattr(text, name)(str(VOCABULARY), model_max_length=64)
        tokenizer.save_pretrained(folder / name)
        ids = [tokenizer(one, TEXTS[0]).input_ids for one in TEXTS]
        (folder / f"{name}.json").write_text(json.dumps(ids), encoding="utf-8")


def load(folder: Path) -> int:
    """Step two: 4.37.2 loads; one line per class; returns how many differ."""
    library = import_module("transformers")
    differing = 0
    for kind, (_, name) in NETWORKS.items():
        wanted = load_file(folder / f"{kind}.safetensors")
        model, report = _load_old(library, kind, name, folder)
        with torch.no_grad():
            found = values_of(kind, model.eval()(**inputs_of(kind)))
        largest = max(float((found[key].double() - value.double()).abs().max()) for key, value in wanted.items())
        differing += largest > ALLOWED
        keys = {key: report[key] for key in ("missing_keys", "unexpected_keys") if report[key]}
        print(f"{kind:<20}{largest:>10.1e}  {keys or 'all keys found'}")
    for name in TOKENIZERS:
        wanted_ids = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for old in (*TOKENIZERS, "AutoTokenizer"):
            tokenizer = getattr(library, old).from_pretrained(folder / name)
            same = [tokenizer(one, TEXTS[0]).input_ids for one in TEXTS] == wanted_ids
            differing += not (same and tokenizer.model_max_length == 64)
            print(f"{name:<20}{'same' if same else 'DIFFERS':>10}  with {old}")
    return differing


def _load_old(library: Any, kind: str, name: str, folder: Path) -> tuple[Any, Any]:
    own = {}
    if kind == "scorer_own":
        # 4.37.2 finds a second embedder only if it is given one to fill.
        config = library.RealmConfig.from_pretrained(folder / kind)
        own = {"query_embedder": library.RealmEmbedder(config)}
    if kind == "openqa":
        own = {"retriever": library.RealmRetriever.from_pretrained(folder / kind)}
    found: tuple[Any, Any] = getattr(library, name).from_pretrained(folder / kind, output_loading_info=True, **own)
    return found


def main(arguments: list[str]) -> int:
    """Run the step named on the command line."""
    if len(arguments) != 2 or arguments[0] not in ("save", "load"):
        raise SystemExit("Usage: check_old_loads_new.py save|load FOLDER; see the head of this file.")
    folder = Path(arguments[1])
    if arguments[0] == "save":
        folder.mkdir(parents=True, exist_ok=True)
        save(folder)
        return 0
    return int(load(folder) > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
