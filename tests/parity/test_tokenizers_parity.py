"""Both tokenizers give what transformers 4.37.2 gave, for odd texts, pairs, candidates and own folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from comparison import failures
from golden_cases import GOLDENS
from tokenizer_comparison import (
    GROUPS,
    KINDS,
    OPTIONS_OF_KIND,
    SLOW_ONLY,
    STORED,
    calls_checks,
    options_checks,
    tokenizer,
    vocabulary_checks,
)
from transformers import AutoTokenizer

from realm.models.configuration import RealmConfig
from realm.text.tokenization import RealmTokenizer, RealmTokenizerFast, register_tokenizers

FOLDERS = sorted(path.name for path in (GOLDENS / "tokenizers").iterdir())


@pytest.mark.parametrize(("kind", "option"), OPTIONS_OF_KIND)
def test_every_text_gives_the_tokens_and_ids_of_4_37_2(kind: str, option: str) -> None:
    checks = options_checks(option, kind)
    assert checks
    assert not failures(checks), failures(checks)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("group", GROUPS)
def test_every_call_gives_what_it_gave_in_4_37_2(group: str, kind: str) -> None:
    checks = calls_checks(group, kind)
    assert checks
    assert not failures(checks), failures(checks)


@pytest.mark.parametrize("kind", KINDS)
def test_a_vocabulary_with_crlf_line_ends_is_the_same_vocabulary(kind: str) -> None:
    checks = vocabulary_checks(kind)
    assert not failures(checks), failures(checks)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_saved_by_4_37_2_loads_with_its_options(folder: str, kind: str) -> None:
    option = folder.partition("_")[2]
    found = KINDS[kind].from_pretrained(GOLDENS / "tokenizers" / folder)
    same = tokenizer("slow" if option in SLOW_ONLY and kind == "slow" else kind, option)
    assert found.get_vocab() == same.get_vocab()
    for text in STORED["made"][option]["tokens"]:
        assert found(text).input_ids == same(text).input_ids


@pytest.mark.parametrize("kind", KINDS)
def test_a_released_folder_of_2022_loads(kind: str, tmp_path: Path) -> None:
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
    options = {"do_lower_case": True, "do_basic_tokenize": True, "never_split": None, "strip_accents": None}
    others = {"model_max_length": 512, "special_tokens_map_file": None, "name_or_path": "bert-base-uncased"}
    config = {**names, **options, **others, "tokenizer_class": "RealmTokenizer"}
    (tmp_path / "vocab.txt").write_bytes((GOLDENS / "vocabularies" / "text_crlf.txt").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(names))
    found = KINDS[kind].from_pretrained(tmp_path)
    assert found.model_max_length == 512
    assert found("Hello World!").input_ids == tokenizer(kind, "default")("Hello World!").input_ids


def test_auto_tokenizer_gives_the_fast_class_for_a_realm_folder() -> None:
    register_tokenizers(RealmConfig)
    found = AutoTokenizer.from_pretrained(GOLDENS / "tokenizers" / "slow_default")
    assert type(found) is RealmTokenizerFast


def test_a_missing_vocabulary_is_told_by_its_path_as_a_value_error() -> None:
    wanted = STORED["errors"]["no_such_vocabulary"]["error"]
    first_sentence = wanted["message"].split(". To load")[0]
    with pytest.raises(ValueError, match=first_sentence):
        RealmTokenizer("no-such-vocabulary.txt")


@pytest.mark.parametrize("kind", KINDS)
def test_a_pair_of_candidates_by_position_is_refused(kind: str) -> None:
    with pytest.raises(TypeError):
        tokenizer(kind, "default").batch_encode_candidates([["a"]], [["b"]])
