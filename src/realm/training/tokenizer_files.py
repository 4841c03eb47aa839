"""The tokenizer's files of a model folder, for results that others are to open by themselves.

Knows file names only.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from realm.errors import ModelError

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
