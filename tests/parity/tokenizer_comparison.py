"""Compares both tokenizers with the goldens, as `comparison` does the networks: tokens, ids, facts, calls.

On purpose, the slow class runs on the fast one's backend, so where 4.37.2's two classes cut a pair otherwise
(an odd piece when both texts are cut, an empty second text) the fast class is what both are compared with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from comparison import Check
from golden_cases import GOLDENS

from realm.text.tokenization import RealmTokenizer, RealmTokenizerFast

STORED: dict[str, Any] = json.loads((GOLDENS / "texts" / "tokenizers.json").read_text(encoding="utf-8"))
KINDS: dict[str, Any] = {"slow": RealmTokenizer, "fast": RealmTokenizerFast}
GROUPS = ("pairs", "candidates", "decoded")
SLOW_ONLY = ("never_split", "never_split_cased", "no_basic")
OPTIONS_OF_KIND = [
    (kind, option) for kind in KINDS for option in STORED["options"] if kind == "slow" or option not in SLOW_ONLY
]


@cache
def tokenizer(kind: str, option: str) -> Any:
    """One of our tokenizers on the golden vocabulary."""
    return KINDS[kind](str(GOLDENS / "vocabularies" / "text.txt"), **STORED["options"][option])


def wanted_of(stored: dict[str, Any], kind: str) -> Any:
    """What 4.37.2 gave for this class."""
    return stored["both"] if "both" in stored else stored[kind]


def options_checks(option: str, kind: str) -> list[Check]:
    """Tokens, ids and facts for one set of constructor options."""
    ours, stored = tokenizer(kind, option), STORED["made"][option]
    # A word of `never_split` that is not in the vocabulary shows as what its id means.
    unknown = set(STORED["options"][option].get("never_split", ())) - set(ours.get_vocab())
    checks = []
    for text, tokens in stored["tokens"].items():
        wanted = [ours.unk_token if piece in unknown else piece for piece in wanted_of(tokens, kind).split()]
        checks.append(_check(kind, f"{option} tokens of {text!r}", ours.tokenize(text), wanted))
    for text, ids in stored["ids"].items():
        checks.append(_check(kind, f"{option} ids of {text!r}", ours(text).input_ids, wanted_of(ids, kind)))
    found = facts(ours)
    for name, value in wanted_of(stored["facts"], kind).items():
        checks.append(_check(kind, f"{option} {name}", found[name], value))
    return checks


def facts(ours: Any) -> dict[str, Any]:
    """The attributes and small methods of `golden_tokenizers._facts`."""
    simple = ("vocab_size", "model_max_length", "model_input_names", "padding_side", "truncation_side")
    pair = ours.build_inputs_with_special_tokens([8, 9], [7])
    return {
        **{name: getattr(ours, name) for name in simple},
        "length": len(ours),
        "special_ids": {name: getattr(ours, f"{name}_token_id") for name in ("unk", "sep", "pad", "cls", "mask")},
        "all_special_ids": sorted(ours.all_special_ids),
        "special_tokens_map": dict(ours.special_tokens_map),
        "clean_up": ours.clean_up_tokenization_spaces,
        "single": ours.num_special_tokens_to_add(False),
        "pair": ours.num_special_tokens_to_add(True),
        "built": pair,
        "built_one": ours.build_inputs_with_special_tokens([8]),
        "types": ours.create_token_type_ids_from_sequences([8, 9], [7]),
        "types_one": ours.create_token_type_ids_from_sequences([8, 9]),
        "special_mask": ours.get_special_tokens_mask(pair, already_has_special_tokens=True),
        "id_of_unknown": ours.convert_tokens_to_ids("never-seen"),
        "ids_of_tokens": ours.convert_tokens_to_ids(["the", "[SEP]", "nope"]),
        "tokens_of_ids": ours.convert_ids_to_tokens([0, 5, 60, 3]),
        "joined": ours.convert_tokens_to_string(["un", "##want", "##ed", ",", "new"]),
    }


def calls_checks(group: str, kind: str) -> list[Check]:
    """Calls with several texts, candidates, or decoding, with default options."""
    ours = tokenizer(kind, "default")
    checks = []
    for number, row in enumerate(STORED["calls"][group]):
        stored = row["outputs"]
        wanted = stored["fast"] if group == "pairs" and "fast" in stored else wanted_of(stored, kind)
        checks.append(_check(kind, f"{group} {number}: {row}", _outcome(group, ours, row, wanted), wanted))
    return checks


def vocabulary_checks(kind: str) -> list[Check]:
    """A vocabulary file with CRLF line ends."""
    found = KINDS[kind](str(GOLDENS / "vocabularies" / "text_crlf.txt")).get_vocab()
    return [_check(kind, "CRLF vocabulary", found, wanted_of(STORED["crlf_vocabulary"], kind))]


def every_tokenizer_check() -> Iterator[Check]:
    """All checks of both classes."""
    for kind, option in OPTIONS_OF_KIND:
        yield from options_checks(option, kind)
    for kind in KINDS:
        for group in GROUPS:
            yield from calls_checks(group, kind)
        yield from vocabulary_checks(kind)


def _call(group: str, ours: Any, row: dict[str, Any]) -> Any:
    if group == "pairs":
        return dict(ours(**row["inputs"]))
    if group == "decoded":
        return ours.decode(row["ids"], **row["options"])
    options = {name: value for name, value in row["inputs"].items() if name != "text"}
    made = ours.batch_encode_candidates(row["inputs"]["text"], **options)
    return {name: value if isinstance(value, list) else {"tensor": value.tolist()} for name, value in made.items()}


def _outcome(group: str, ours: Any, row: dict[str, Any], wanted: Any) -> Any:
    """What a call gives; of an exception its type and message, as the goldens hold it."""
    try:
        return _call(group, ours, row)
    except Exception as exc:  # noqa: BLE001  which exception it is, is the check
        expected = wanted.get("error", {}).get("type") if isinstance(wanted, dict) else None
        kinds = {kind.__name__ for kind in type(exc).__mro__}
        return {"error": {"type": expected if expected in kinds else type(exc).__name__, "message": str(exc)}}


def _check(kind: str, what: str, found: Any, wanted: Any) -> Check:
    difference = 0.0 if found == wanted else float("inf")
    return Check(KINDS[kind].__name__, f"{what}: found {found!r}, wanted {wanted!r}", difference, exact=True)
