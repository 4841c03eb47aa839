"""Goldens of RealmForOpenQA and RealmRetriever on a corpus of thirty one-line blocks.

Questions are chosen so that decoding and encoding them again gives the same ids (4.37.2 does both
when it is asked).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import torch
from golden_networks import watch_spans
from golden_store import Call, Case, old_library, require_margin, versions, write_json
from golden_texts import SPECIAL
from golden_tokenizers import write_vocabulary
from golden_weights import build

_WORDS = """the cat sat on mat a dog ran in park red blue green fox jumped over lazy moon is made of cheese
who what where did when river flows to sea king queen lived old castle by bright star shines night ##s ##ed
##ing ##er small big house . , ? ! - ' book was written found and it under tree""".split()
_RECORDS = """The cat sat on the mat. | A dog ran in the park, under the tree.
| The red fox jumped over the lazy dog! | The moon is made of green cheese. | The river flows to the sea.
| The king and the queen lived in the old castle. | A bright star shines by night.
| The book was written by the queen. | A small house was found by the river.
| The lazy cat lived in a big house, and the small dog lived under the tree.
| Where is the cat? The cat is in the park. | The king was in the castle; the queen was in the park.
| Who found the book? It was the king. | The blue river flows by the castle. |
Red cats, blue dogs, green foxes. | The star is over the moon | The queen's book was big | It is night.
| The dog jumped over the cat, the cat jumped over the mat. | cheese cheese cheese | The old king ran.
| What did the fox find? | The tree in the park is old and big and green and red and blue. | Night shines
| A castle by the sea, a house by the river, a park by the castle, a tree in the park, a cat under the tree.
| zebra quagga okapi | The moon, the star, the night. | MADE of CHEESE | the big red book | A mat."""
RECORDS = [" ".join(text.split()) for text in _RECORDS.split("|")]
_QUESTION_IS_CUT = ("cut", "question_cut_too")
QUESTIONS = {"short": "where is the cat?", "long": "who found the old book under the tree by the castle?"}


def write(folder: Path) -> None:
    """The corpus vocabulary, the calls of RealmForOpenQA, then those of RealmRetriever alone."""
    vocabulary = folder / "vocabularies" / "corpus.txt"
    write_vocabulary(vocabulary, [*SPECIAL, *_WORDS])
    tokenizer = old_library().RealmTokenizer(str(vocabulary))
    for config_name in ("beams", "gelu"):
        _write_model(folder, config_name, tokenizer)
    _write_retriever(folder, tokenizer)


def _write_model(folder: Path, config_name: str, tokenizer: Any) -> None:
    """Every call of one configuration, and of one more with a searcher beam below the reader beam."""
    records = RECORDS[: 20 if config_name == "beams" else 30]
    case = _case(config_name, records)
    model = _watched(config_name, records, tokenizer)
    _calls(case, model, tokenizer)
    case.write(folder / "networks")
    if config_name != "beams":
        return
    narrow = _case(config_name, records, name="openqa_narrow", overrides={"searcher_beam_size": 2})
    model = _watched(config_name, records, tokenizer)
    model.config.searcher_beam_size = 2
    question = dict(tokenizer([QUESTIONS["short"]], return_tensors="pt"))
    narrow.record(model, Call("train", question | {"answer_ids": _answers(tokenizer, ["cat"])}, mode="train"))
    narrow.write(folder / "networks")


def _calls(case: Case, model: Any, tokenizer: Any) -> None:
    """Both modes, answers present, absent, not found, and the loss sent back to every parameter."""
    short = dict(tokenizer([QUESTIONS["short"]], return_tensors="pt"))
    long = dict(tokenizer([QUESTIONS["long"]], return_tensors="pt"))
    wide = dict(tokenizer([QUESTIONS["short"]], return_tensors="pt", padding="max_length", max_length=12))
    common = {"answer_ids": _answers(tokenizer, ["the king", "park", "dog"])}
    found = case.record(model, Call("eval_no_answers", short))
    case.record(model, Call("eval_ids_only", {"input_ids": short["input_ids"]}))
    case.record(model, Call("eval_padded_question", wide))
    case.record(model, Call("eval_answers", long | common))
    case.record(model, Call("eval_gold_is_prediction", short | {"answer_ids": [found.predicted_answer_ids.tolist()]}))
    case.record(model, Call("train_answers", short | common, mode="train", backward="reader_output.loss"))
    case.record(model, Call("train_answers_long", long | common, mode="train"))
    case.record(model, Call("train_no_answers", long, mode="train"))
    missing = {"answer_ids": _answers(tokenizer, ["blue cheese"])}
    case.record(model, Call("train_nothing_found", long | missing, mode="train"))
    case.record(model, Call("train_no_answer_convention", long | {"answer_ids": [[-1]]}, mode="train"))


def _case(
    config_name: str, records: list[str], name: str | None = None, overrides: dict[str, int] | None = None
) -> Case:
    case = Case(name or f"openqa_{config_name}", "openqa", f"weights/{config_name}/openqa", overrides or {})
    case.extra = {"records": records, "vocabulary": "vocabularies/corpus.txt"}
    return case


def _watched(config_name: str, records: list[str], tokenizer: Any) -> Any:
    """The model with its retriever; stops if two spans or two blocks are too close to call."""
    model = build(config_name, "openqa")
    blocks = numpy.array([record.encode() for record in records], dtype=object)
    model.retriever = old_library().RealmRetriever(blocks, tokenizer)
    model.reader.qa_outputs.register_forward_hook(watch_spans)
    model.reader.register_forward_hook(lambda module, *_: require_margin(module.qa_outputs.scores, "reader"))
    model.embedder.register_forward_hook(lambda _, __, output: _require_order(model, output[0]))
    return model


def _require_order(model: Any, question: torch.Tensor) -> None:
    scores = (model.block_emb @ question[0].detach()).sort(descending=True).values
    gaps = scores[:-1] - scores[1:]
    if float(gaps.min()) < 1e-5:
        raise RuntimeError("two blocks score the same; choose another seed")


def _answers(tokenizer: Any, answers: list[str]) -> list[list[int]]:
    return [list(row) for row in tokenizer(answers, add_special_tokens=False).input_ids]


def _write_retriever(folder: Path, tokenizer: Any) -> None:
    """What the retriever returns: also for cut questions, answers past the cut, overlaps, nothing found."""
    library = old_library()
    retriever = library.RealmRetriever(numpy.array([record.encode() for record in RECORDS], dtype=object), tokenizer)
    calls = []
    for name, chosen, question, answers, longest in (
        ("answers", [0, 5, 11], "short", ["the king", "cat"], None),
        ("one_row", [3], "short", ["cheese"], None),
        ("order_and_repetition", [12, 0, 12], "long", ["king"], 40),
        ("overlap", [19, 0], "short", ["cheese cheese", "cheese"], None),
        ("duplicate_answers", [0, 10], "short", ["cat", "cat"], None),
        ("nothing_found", [1, 2], "short", ["queen"], None),
        ("no_answers_given", [1, 2], "short", None, None),
        ("empty_answers", [1, 2], "short", [], None),
        ("block_cut", [24, 9, 0], "short", ["cat", "sea"], 16),
        ("cut", [24, 9, 0], "long", ["cat", "tree"], 20),
        ("question_cut_too", [24, 9, 0], "long", ["cat", "sea", "house"], 16),
        ("unknown_words", [25, 27], "short", ["made of cheese"], None),
    ):
        question_ids = tokenizer([QUESTIONS[question]], return_tensors="pt").input_ids
        answer_ids = None if answers is None else _answers(tokenizer, answers) if answers else []
        result = retriever(torch.tensor(chosen), question_ids, answer_ids, max_length=longest)
        inputs = {"block_ids": chosen, "question_ids": question_ids.tolist()}
        inputs |= {"answer_ids": answer_ids, "max_length": longest}
        call = {"name": name, "inputs": inputs, "outputs": _plain(result)}
        if name in _QUESTION_IS_CUT:
            call["outputs_of_only_second"] = _plain(_only_second(retriever, inputs))
        calls.append(call)
    target = folder / "retriever"
    target.mkdir()
    retriever.save_pretrained(target)
    head = {"made_with": versions(), "records": RECORDS, "vocabulary": "vocabularies/corpus.txt"}
    write_json(folder / "texts" / "retriever.json", {**head, "calls": calls})


def _only_second(retriever: Any, inputs: dict[str, Any]) -> Any:
    """What 4.37.2 would return if it cut only the block: its tokenizer and its answer search."""
    tokenizer = retriever.tokenizer
    question = tokenizer.decode(inputs["question_ids"][0], skip_special_tokens=True)
    encoded = tokenizer(
        [question] * len(inputs["block_ids"]),
        [RECORDS[number] for number in inputs["block_ids"]],
        padding=True,
        truncation="only_second",
        return_special_tokens_mask=True,
        max_length=inputs["max_length"],
        return_tensors="pt",
    )
    return (*retriever.block_has_answer(encoded, inputs["answer_ids"]), encoded)


def _plain(result: Any) -> dict[str, Any]:
    """The four results of a retriever as JSON values."""
    has_answers, starts, ends, encoded = result
    columns = {name: value.tolist() for name, value in encoded.items()}
    return {"has_answers": has_answers, "start_pos": starts, "end_pos": ends, "concat_inputs": columns}
