"""After `from realm import RealmConfig`, transformers' Auto classes know what `realm` is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import indent

SOURCE = Path(__file__).parents[2] / "src"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "who", "wrote", "it", "##s", "?"]

SIZES = """vocab_size=10, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
    retriever_proj_size=4, span_hidden_size=4, max_position_embeddings=16"""

ALL_OF_THEM = f"""
from realm import RealmConfig
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForQuestionAnswering, AutoTokenizer
import realm

config = AutoConfig.for_model("realm", {SIZES})
assert type(config) is RealmConfig
homes = {{
    AutoModel: realm.RealmEmbedder,
    AutoModelForMaskedLM: realm.RealmKnowledgeAugEncoder,
    AutoModelForQuestionAnswering: realm.RealmReader,
}}
for auto, kind in homes.items():
    model = auto.from_config(config)
    assert type(model) is kind, (auto, type(model))
    model.save_pretrained(folder)
    assert type(AutoConfig.from_pretrained(folder)) is RealmConfig
    again = auto.from_pretrained(folder)
    assert type(again) is kind, (auto, type(again))
    left, right = model.state_dict(), again.state_dict()
    assert left.keys() == right.keys() and all((left[name] == right[name]).all() for name in left)
tokenizer = AutoTokenizer.from_pretrained(folder)
assert isinstance(tokenizer, (realm.RealmTokenizer, realm.RealmTokenizerFast)), type(tokenizer)
assert tokenizer("who wrote its?").input_ids == [2, 5, 6, 7, 8, 9, 3]
tokenizer.save_pretrained(folder + "/saved")
config.save_pretrained(folder + "/saved")
assert AutoTokenizer.from_pretrained(folder + "/saved")("who wrote its?").input_ids == [2, 5, 6, 7, 8, 9, 3]
"""


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own, where nothing has been imported yet."""
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", "utf-8")
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", f"folder = {str(folder)!r}\n{code}"],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


INNER = f"""
from realm.models.{{home}} import {{kind}}
from transformers import AutoConfig, {{auto}}

assert type({{auto}}.from_config(AutoConfig.for_model("realm", {SIZES}))) is {{kind}}
"""
HOMES = [
    ("embedder", "RealmEmbedder", "AutoModel"),
    ("encoder", "RealmKnowledgeAugEncoder", "AutoModelForMaskedLM"),
    ("reader", "RealmReader", "AutoModelForQuestionAnswering"),
]

# Each in a child of its own, which has imported transformers and nothing of realm.
EACH_ALONE = """
import os, transformers.modeling_utils

def in_a_child(work):
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, work
"""


def test_auto_classes_resolve_realm_in_a_fresh_process(tmp_path: Path) -> None:
    result = run(ALL_OF_THEM, tmp_path)
    assert result.returncode == 0, result.stderr


def test_any_public_name_and_each_network_imported_from_its_own_file_make_realm_known(tmp_path: Path) -> None:
    cases = ["from realm import RealmRetriever\nfrom transformers import AutoConfig\nAutoConfig.for_model('realm')"]
    cases += [INNER.format(home=home, kind=kind, auto=auto) for home, kind, auto in HOMES]
    code = EACH_ALONE
    for number, case in enumerate(cases):
        code += f"def case{number}():\n{indent(case, '    ')}\nin_a_child(case{number})\n"
    result = run(code, tmp_path)
    assert result.returncode == 0, result.stderr
