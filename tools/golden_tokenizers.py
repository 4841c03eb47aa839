"""Goldens of both tokenizers and of RealmConfig: texts, pairs, candidates, decoding, saved folders.

What the slow and the fast class give is kept once where they agree, and under both names where they do not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from golden_store import old_library, versions, write_json
from golden_texts import LONG_TEXTS, NEVER_SPLIT_TEXTS, TEXTS, vocabulary

_OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "cased": {"do_lower_case": False},
    "accents_kept": {"strip_accents": False},
    "cased_without_accents": {"do_lower_case": False, "strip_accents": True},
    "chinese_whole": {"tokenize_chinese_chars": False},
    "other_names": {
        "unk_token": "<unk>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "cls_token": "<s>",
        "mask_token": "<mask>",
    },
    "never_split": {"never_split": ["New-York,", "u.s.", "[unused0]", "don't", "zz-zz"]},
    "never_split_cased": {"never_split": ["New-York,", "can't"], "do_lower_case": False},
    "no_basic": {"do_basic_tokenize": False},
}
_SLOW_ONLY = ("never_split", "never_split_cased", "no_basic")
_SENTENCES = ["who is the pioneer?", "alan turing", "we know it was new york in 1984, the first"]
_PAIRS: list[dict[str, Any]] = [
    {"text": _SENTENCES[0], "text_pair": _SENTENCES[1]},
    {"text": _SENTENCES, "padding": True},
    {"text": _SENTENCES, "text_pair": _SENTENCES[::-1], "padding": True, "return_special_tokens_mask": True},
    {
        "text": _SENTENCES,
        "text_pair": _SENTENCES[::-1],
        "padding": "max_length",
        "truncation": True,
        "max_length": 12,
    },
    {"text": _SENTENCES, "text_pair": _SENTENCES[::-1], "truncation": "only_second", "max_length": 11},
    {"text": _SENTENCES[2], "text_pair": _SENTENCES[0], "truncation": "only_first", "max_length": 9},
    {"text": _SENTENCES, "truncation": True, "max_length": 5, "add_special_tokens": False},
    {"text": _SENTENCES, "padding": True, "pad_to_multiple_of": 8, "return_token_type_ids": False},
    {
        "text": "a [SEP] b",
        "text_pair": "[CLS] c [PAD]",
        "return_special_tokens_mask": True,
        "padding": "max_length",
        "max_length": 16,
    },
    {"text": ["hello", "world"], "is_split_into_words": True},
    {"text": "", "text_pair": ""},
    {"text": ["x " * 20], "text_pair": ["y " * 40], "truncation": True, "max_length": 16},
    {"text": ["x " * 40], "text_pair": ["y " * 20], "truncation": True, "max_length": 17},
]
_TWO = [["hello world!", "nice to meet you!"], ["the cute cat.", "who is it?"]]
_CANDIDATES: list[dict[str, Any]] = [
    {"text": _TWO, "max_length": 10},
    {"text": _TWO, "max_length": 20, "return_tensors": "pt"},
    {"text": _TWO, "max_length": 4, "truncation": True, "return_tensors": "pt"},
    {"text": _TWO, "text_pair": [row[::-1] for row in _TWO], "max_length": 24, "return_tensors": "np"},
    {
        "text": _TWO,
        "text_pair": [row[::-1] for row in _TWO],
        "max_length": 11,
        "truncation": True,
        "return_tensors": "pt",
    },
    {"text": _TWO, "max_length": 10, "padding": False},
    {"text": _TWO, "max_length": 10, "return_special_tokens_mask": True, "return_token_type_ids": False},
    {"text": _TWO, "max_length": 10, "return_attention_mask": False, "add_special_tokens": False},
    {"text": [], "max_length": 10},
    {"text": _TWO, "max_length": 3, "return_tensors": "pt"},
    {"text": [["a", "b"], ["c"]], "max_length": 5, "return_tensors": "pt"},
]
_DECODED = [
    _SENTENCES[0],
    _SENTENCES[2],
    "we do n't know , it 's new . ' quoted '",
    "[CLS] hello [SEP] [MASK] world",
    "caf\u00e9 \u4e2d\u56fd x!",
    "don't 1,000 ?!",
]


def write_vocabulary(path: Path, pieces: list[str], newline: str = "\n") -> None:
    """One piece per line, as vocab.txt is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{piece}{newline}" for piece in pieces).encode())


def write(folder: Path) -> None:
    """Vocabularies, the texts, and folders as 4.37.2 saves them."""
    pieces = vocabulary()
    write_vocabulary(folder / "vocabularies" / "text.txt", pieces)
    write_vocabulary(folder / "vocabularies" / "text_crlf.txt", pieces, "\r\n")
    made = {name: _of_options(folder, name) for name in _OPTIONS}
    crlf = {kind: _tokenizer(folder, kind, {}, "text_crlf.txt").get_vocab() for kind in ("slow", "fast")}
    head = {
        "made_with": versions(),
        "options": _OPTIONS,
    }
    head |= {"calls": _calls(folder), "crlf_vocabulary": _both(lambda kind: crlf[kind])}
    write_json(folder / "texts" / "tokenizers.json", {**head, "made": made, "errors": _errors(folder)})
    for name in ("default", "cased", "never_split"):
        for kind in ("slow", "fast") if name not in _SLOW_ONLY else ("slow",):
            _tokenizer(folder, kind, _OPTIONS[name]).save_pretrained(folder / "tokenizers" / f"{kind}_{name}")
    config = old_library().RealmConfig
    order = [name for name in inspect.signature(config).parameters if name != "kwargs"]
    values = {"made_with": versions(), "all": config().to_dict(), "order": order}
    write_json(folder / "texts" / "configuration.json", values)


def _tokenizer(folder: Path, kind: str, options: dict[str, Any], vocabulary: str = "text.txt") -> Any:
    name = "RealmTokenizer" if kind == "slow" else "RealmTokenizerFast"
    return getattr(old_library(), name)(str(folder / "vocabularies" / vocabulary), **options)


def _both(make: Callable[[str], Any], slow_only: bool = False) -> dict[str, Any]:
    """`{"both": x}` where both agree, else an entry each; slow alone where fast lacks the option."""
    slow = _outcome(make, "slow")
    if slow_only:
        return {"slow": slow}
    fast = _outcome(make, "fast")
    return {"both": slow} if slow == fast else {"slow": slow, "fast": fast}


def _outcome(make: Callable[[str], Any], kind: str) -> Any:
    try:
        return make(kind)
    except Exception as exc:  # noqa: BLE001  whatever 4.37.2 raises is the golden value
        return {"error": {"type": type(exc).__name__, "message": str(exc)}}


def _of_options(folder: Path, name: str) -> dict[str, Any]:
    """Tokens of every text and the facts of the object, for one set of constructor options."""
    slow_only = name in _SLOW_ONLY
    kinds = ("slow",) if slow_only else ("slow", "fast")
    objects = {kind: _tokenizer(folder, kind, _OPTIONS[name]) for kind in kinds}
    texts = [*(NEVER_SPLIT_TEXTS if slow_only else ()), *TEXTS, *(LONG_TEXTS if name == "default" else ())]
    numbered = texts if name in ("default", "never_split") else texts[:8]

    def tokens(text: str) -> dict[str, Any]:
        return _both(lambda kind: " ".join(objects[kind].tokenize(text)), slow_only)

    def ids(text: str) -> dict[str, Any]:
        return _both(lambda kind: objects[kind](text).input_ids, slow_only)

    return {
        "tokens": {text: tokens(text) for text in texts},
        "ids": {text: ids(text) for text in numbered},
        "facts": _both(lambda kind: _facts(objects[kind]), slow_only),
    }


def _facts(tokenizer: Any) -> dict[str, Any]:
    """Attributes and small methods that 4.37.2 has on both classes."""
    simple = ("vocab_size", "model_max_length", "model_input_names", "padding_side", "truncation_side")
    pair = tokenizer.build_inputs_with_special_tokens([8, 9], [7])
    return {
        **{name: getattr(tokenizer, name) for name in simple},
        "length": len(tokenizer),
        "special_ids": {name: getattr(tokenizer, f"{name}_token_id") for name in ("unk", "sep", "pad", "cls", "mask")},
        "all_special_ids": sorted(tokenizer.all_special_ids),
        "special_tokens_map": dict(tokenizer.special_tokens_map),
        "clean_up": tokenizer.clean_up_tokenization_spaces,
        "single": tokenizer.num_special_tokens_to_add(False),
        "pair": tokenizer.num_special_tokens_to_add(True),
        "built": pair,
        "built_one": tokenizer.build_inputs_with_special_tokens([8]),
        "types": tokenizer.create_token_type_ids_from_sequences([8, 9], [7]),
        "types_one": tokenizer.create_token_type_ids_from_sequences([8, 9]),
        "special_mask": tokenizer.get_special_tokens_mask(pair, already_has_special_tokens=True),
        "id_of_unknown": tokenizer.convert_tokens_to_ids("never-seen"),
        "ids_of_tokens": tokenizer.convert_tokens_to_ids(["the", "[SEP]", "nope"]),
        "tokens_of_ids": tokenizer.convert_ids_to_tokens([0, 5, 60, 3]),
        "joined": tokenizer.convert_tokens_to_string(["un", "##want", "##ed", ",", "new"]),
    }


def _calls(folder: Path) -> dict[str, Any]:
    """Calls with several texts, candidates, and decoding, all with default options."""
    objects = {kind: _tokenizer(folder, kind, {}) for kind in ("slow", "fast")}

    def called(row: dict[str, Any]) -> dict[str, Any]:
        return _both(lambda kind: dict(objects[kind](**row)))

    def candidates(row: dict[str, Any]) -> dict[str, Any]:
        return _both(lambda kind: _candidates(objects[kind], row))

    def decoded(ids: list[int], options: dict[str, bool]) -> dict[str, Any]:
        return _both(lambda kind: objects[kind].decode(ids, **options))

    rows = [objects["slow"](text).input_ids for text in _DECODED]
    ways: list[dict[str, bool]] = [{}, {"skip_special_tokens": True}, {"clean_up_tokenization_spaces": False}]
    return {
        "pairs": [{"inputs": row, "outputs": called(row)} for row in _PAIRS],
        "candidates": [{"inputs": row, "outputs": candidates(row)} for row in _CANDIDATES],
        "decoded": [{"ids": ids, "options": way, "outputs": decoded(ids, way)} for ids in rows for way in ways],
    }


def _candidates(tokenizer: Any, row: dict[str, Any]) -> dict[str, Any]:
    made = tokenizer.batch_encode_candidates(row["text"], **{key: value for key, value in row.items() if key != "text"})
    return {name: value if isinstance(value, list) else {"tensor": value.tolist()} for name, value in made.items()}


def _errors(folder: Path) -> dict[str, Any]:
    """Messages that callers may match on."""
    library = old_library()
    objects = {kind: _tokenizer(folder, kind, {}) for kind in ("slow", "fast")}
    return {
        "no_such_vocabulary": _outcome(lambda _: library.RealmTokenizer("no-such-vocabulary.txt"), "slow"),
        "positional_pair": _both(lambda kind: objects[kind].batch_encode_candidates(_TWO, _TWO)),
        "do_lower_case_without_basic": _outcome(
            lambda _: _tokenizer(folder, "slow", {"do_basic_tokenize": False}).do_lower_case, "slow"
        ),
    }
