"""The tokenizer's files of a model folder, for results that others are to open by themselves.

Knows files and word pieces, no networks.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from realm.errors import ModelError
from realm.text.pieces import PieceTokenizer
from realm.training.token_store import tokenizer_digest

TOKENIZER_FILE = "tokenizer.json"
_CONFIG_FILE = "tokenizer_config.json"
_LOWER_CASE = "do_lower_case"


def require_tokenizer(folder: Path) -> Path:
    """The folder itself.

    Raises:
        ModelError: It has no `tokenizer.json`.
    """
    if not (folder / TOKENIZER_FILE).is_file():
        raise ModelError(f"No {TOKENIZER_FILE} in {folder}: copy the one there that the model was trained with.")
    return folder


def require_same_pieces(**folders: Path) -> None:
    """Refuse networks that do not belong together.

    Args:
        folders: Of two networks, each with a `tokenizer.json`, by what they are.

    Raises:
        ModelError: The tokenizers differ.
    """
    (first, its_folder), (second, other_folder) = folders.items()
    if len({tokenizer_digest(PieceTokenizer.from_folder(folder)) for folder in folders.values()}) > 1:
        raise ModelError(
            f"The {first} in {its_folder} and the {second} in {other_folder} do not belong together: their "
            f"{TOKENIZER_FILE} differ. Train both with the same word pieces."
        )


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Put a model's tokenizer into another model folder, under the names and the class that realm writes.

    Args:
        source: A folder with `tokenizer.json`, of realm or of a BERT-family encoder.
        folder: Where the result is.
    """
    for name in (TOKENIZER_FILE, "vocab.txt"):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    values = {"tokenizer_class": "RealmTokenizer", _LOWER_CASE: True, "model_max_length": 512}
    if (source / _CONFIG_FILE).is_file():
        given = json.loads((source / _CONFIG_FILE).read_text(encoding="utf-8"))
        values |= {key: given[key] for key in (_LOWER_CASE, "model_max_length") if key in given}
    (folder / _CONFIG_FILE).write_text(json.dumps(values) + "\n", encoding="utf-8")
