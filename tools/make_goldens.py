"""Write the golden vectors of `tests/parity/goldens/` by running transformers 4.37.2 itself.

It runs in an environment of its own, for 4.37.2 cannot live beside transformers 5:

    python3.11 -m venv /tmp/realm-goldens
    /tmp/realm-goldens/bin/pip install "transformers==4.37.2" "numpy<2" torch safetensors
    OMP_NUM_THREADS=1 /tmp/realm-goldens/bin/python tools/make_goldens.py

What is written, all of it tiny and from fixed seeds:

    weights/<config>/<kind>/       4.37.2's own save_pretrained: config.json + model.safetensors
    weights_bin/gelu/<kind>/       the same as pytorch_model.bin, two of them dressed as released 4.16 files
    weights_sharded/gelu/openqa/   the same weights as safetensors in several pieces, with their index
    vocabularies/                  the word pieces, with LF and with CRLF line ends
    networks/<kind>_<config>.{json,safetensors}   calls of the four networks and of RealmForOpenQA
    tokenizers/<class>_<options>/, retriever/      folders as 4.37.2 saves them
    texts/{tokenizers,retriever,configuration}.json

Reading order: golden_store (how a call is recorded), golden_weights, golden_networks, golden_openqa,
golden_texts, golden_tokenizers.
It knows nothing of `realm`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import golden_networks
import golden_openqa
import golden_tokenizers
from golden_store import EXPECTED_TRANSFORMERS, versions

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "parity" / "goldens"


def main() -> None:
    """Make every golden anew; files of an earlier run are removed first."""
    found = versions()["transformers"]
    if found != EXPECTED_TRANSFORMERS:
        raise SystemExit(f"transformers {found} found, {EXPECTED_TRANSFORMERS} expected: see the head of this file.")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    golden_tokenizers.write(FOLDER)
    golden_networks.write(FOLDER)
    golden_openqa.write(FOLDER)
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    print(f"{len(files)} files, {sum(path.stat().st_size for path in files):,} bytes in {FOLDER}")


if __name__ == "__main__":
    main()
