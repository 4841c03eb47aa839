"""Taggers with networks: a tiny model whose weights say which word is what, and spaCy where it is installed."""

from __future__ import annotations

import importlib.util
import json
import string
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

from realm.errors import MissingExtraError, ModelError
from realm.text.salient import salient_sentences
from realm.training.taggers import SpacyTagger, TokenClassificationTagger, split_label

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-CARDINAL", "I-CARDINAL"]
LABEL_OF = {
    "ada": "B-PER", "lovelace": "I-PER", "bob": "B-PER", "koln": "B-LOC", "##x": "B-LOC", "seven": "B-CARDINAL",
    "new": "I-LOC", "東": "B-LOC", "york": "I-LOC",
}  # fmt: skip
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write_model(folder: Path) -> Path:
    """A BERT whose layers add nothing, so that a token's label depends on its embedding alone."""
    letters = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase), *string.punctuation]
    pieces = list(dict.fromkeys([*SPECIAL, *letters, *LABEL_OF, "in", "met", "saw", "京"]))
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        max_position_embeddings=16, num_labels=len(LABELS), id2label=dict(enumerate(LABELS)),
    )  # fmt: skip
    model = BertForTokenClassification(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "LayerNorm.weight" in name:
                parameter.fill_(1.0)
            else:
                parameter.zero_()
        for number, piece in enumerate(pieces):
            model.bert.embeddings.word_embeddings.weight[number, LABELS.index(LABEL_OF.get(piece, "O"))] = 5.0
        model.classifier.weight[:, : len(LABELS)] = torch.eye(len(LABELS))
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=16,
    )  # fmt: skip
    wrapped.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tagger"))


@pytest.fixture(scope="module")
def tagger(folder: Path) -> TokenClassificationTagger:
    return TokenClassificationTagger(folder, max_batch_tokens=40)


def found(tagger: TokenClassificationTagger, texts: Sequence[str]) -> list[list[tuple[str, str]]]:
    return [
        [(text[span.start : span.end], span.kind) for span in spans]
        for text, spans in zip(texts, tagger.spans(texts), strict=True)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ada Lovelace met Bob.", [("Ada Lovelace", "PER"), ("Bob", "PER")]),
        ("Ada Bob", [("Ada", "PER"), ("Bob", "PER")]),  # B begins a new name
        ("In New York, Ada saw", [("New York", "LOC"), ("Ada", "PER")]),  # I begins one where there is none
        ("  İn KÖLN,é Ada", [("KÖLN", "LOC"), ("Ada", "PER")]),  # characters, whatever becomes of them in lower case
        ("Adaq saw Bobx in", [("Adaq", "PER"), ("Bobx", "PER")]),  # the first piece of a word decides for the whole
        ("metx saw", []),
        ("京東 Ada", [("東", "LOC"), ("Ada", "PER")]),  # each Chinese character is a word
        ("Ada saw seven", [("Ada", "PER")]),  # numbers are no names
        ("", []),
        ("!", []),
    ],
)
def test_names_have_the_characters_of_their_words(
    tagger: TokenClassificationTagger, text: str, expected: list[tuple[str, str]]
) -> None:
    assert found(tagger, [text]) == [expected]


def test_texts_longer_than_the_model_are_read_to_their_end(tagger: TokenClassificationTagger) -> None:
    text = "ada saw " * 30 + "koln. Bob met Ada Lovelace"
    (names,) = found(tagger, [text])
    assert names == [("ada", "PER")] * 30 + [("koln", "LOC"), ("Bob", "PER"), ("Ada Lovelace", "PER")]


def test_batches_do_not_change_what_is_found(tagger: TokenClassificationTagger) -> None:
    texts = ["Ada met Bob.", "", "in " * 40, "New York saw Ada Lovelace. Bob met Ada.", "Köln"]
    assert found(tagger, texts) == [found(tagger, [text])[0] for text in texts]


def test_dates_are_added_to_the_names_of_a_model(tagger: TokenClassificationTagger) -> None:
    text = "Ada saw New York in May 1867."
    ((sentence,),) = salient_sentences([text], tagger)
    assert [text[span.start : span.end] for span in sentence.spans] == ["Ada", "New York", "May 1867"]


def test_digest_changes_with_the_weights(tmp_path: Path, tagger: TokenClassificationTagger) -> None:
    other = write_model(tmp_path)
    assert TokenClassificationTagger(other).digest == tagger.digest
    model = BertForTokenClassification.from_pretrained(other)
    torch.nn.init.ones_(model.classifier.bias)
    model.save_pretrained(other)
    assert TokenClassificationTagger(other).digest != tagger.digest


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("B-PER", ("B", "PER")), ("I-PER", ("I", "PER")), ("PER", ("I", "PER")), ("S-LOC", ("S", "LOC")),
        ("O", ("O", None)), ("I-MONEY", ("O", None)), ("CARDINAL", ("O", None)), ("X-RAY", ("I", "X-RAY")),
        ("B-WORK_OF-ART", ("B", "WORK_OF-ART")),
    ],
)  # fmt: skip
def test_labels_are_place_and_kind(label: str, expected: tuple[str, str | None]) -> None:
    assert split_label(label) == expected


def test_folder_that_is_no_such_model_is_refused(tmp_path: Path, folder: Path, trunk: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        TokenClassificationTagger(tmp_path)
    with pytest.raises(ModelError, match="no weights for classifier"):
        TokenClassificationTagger(trunk)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nothing"}))
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        TokenClassificationTagger(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(importlib.util.find_spec("spacy") is not None, reason="spaCy is installed")
def test_without_spacy_the_message_is_the_install_line() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'realm-lm\[ner\]'"):
        SpacyTagger("en")


def test_entities_of_a_spacy_pipeline_are_names(tmp_path: Path) -> None:
    spacy = pytest.importorskip("spacy", reason="spaCy is not installed (extra `ner`)")
    pipeline = spacy.blank("en")
    rules = pipeline.add_pipe("entity_ruler")
    rules.add_patterns([{"label": "PERSON", "pattern": "Ada"}, {"label": "CARDINAL", "pattern": "seven"}])
    pipeline.to_disk(tmp_path)
    (spans,) = SpacyTagger(str(tmp_path)).spans(["É Ada saw seven."])
    assert [tuple(span) for span in spans] == [(2, 5, "PERSON")]
    with pytest.raises(ModelError, match="cannot be loaded"):
        SpacyTagger(str(tmp_path / "none"))
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(ModelError, match="finds no entities"):
        SpacyTagger(str(tmp_path / "blank"))
