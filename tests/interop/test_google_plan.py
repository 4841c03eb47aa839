"""What a checkpoint fills, what it leaves unfilled and what is not used; and when that is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from realm.errors import ModelError, UsageError
from realm.interop.google_names import Flavour, Target, table
from realm.interop.google_plan import ImportPlan, plan_google_checkpoint
from realm.interop.tensorflow_bundle import TensorBundle
from realm.interop.tensorflow_bundle_writer import write_bundle

SLOTS = ("adam_m", "adam_v", "AdamWeightDecayOptimizer", "AdamWeightDecayOptimizer_1")
ORQA_ROOTS = ("module/module/module/", "reader/")
Plan = Callable[[Iterable[str], Target], ImportPlan]


def variables(target: Target, flavour: Flavour, layers: Iterable[int] = range(2)) -> list[str]:
    """Names of all variables of a network."""
    rows = [row.theirs for row in table(target) if row.flavour == flavour and row.theirs != "block_emb"]
    return [row.replace("{i}", str(layer)) for row in rows for layer in (layers if "{i}" in row else [0])]


EMBEDDER = variables("embedder", "pretrained")
READER = variables("reader", "finetuned")
ENCODER = variables("encoder", "pretrained")
ORQA = variables("openqa", "finetuned")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """The plan for a checkpoint with variables of these names."""

    def planned(names: Iterable[str], target: Target) -> ImportPlan:
        write_bundle(tmp_path / "m", ((name, np.zeros((1, 1) if "kernel" in name else 1)) for name in names))
        return plan_google_checkpoint(TensorBundle(tmp_path / "m"), target)

    return planned


def filled_from(plan: ImportPlan) -> set[str]:
    return {source.name for source in plan.sources.values()}


def test_a_whole_embedder_leaves_only_the_unused_decoder_unfilled(plan: Plan) -> None:
    found = plan(EMBEDDER, "embedder")
    assert filled_from(found) == set(EMBEDDER)
    assert (found.unfilled, found.unused, found.slots) == (("cls.predictions.decoder.weight",), (), ())


def test_a_whole_encoder_leaves_nothing_unfilled(plan: Plan) -> None:
    assert plan(ENCODER, "encoder").unfilled == ()


@pytest.mark.parametrize(("target", "mine"), [("embedder", "module/"), ("scorer", "module/"), ("reader", "reader/")])
def test_of_the_fine_tuned_model_each_network_takes_its_own_and_lists_the_rest(
    plan: Plan, target: Target, mine: str
) -> None:
    slots = [f"{name}/{slot}" for name in ORQA[::9] for slot in SLOTS] + ["global_step"]
    found = plan([*ORQA, *slots], target)
    assert filled_from(found) == {name for name in ORQA if name.startswith(mine)}
    assert found.unused == tuple(sorted(name for name in ORQA if not name.startswith(mine)))
    assert found.slots == tuple(sorted(slots))


def test_the_fine_tuned_model_fills_all_of_openqa_but_block_emb(plan: Plan) -> None:
    found = plan(ORQA, "openqa")
    assert filled_from(found) == set(ORQA)
    decoders = {f"{part}.cls.predictions.decoder.weight" for part in ("embedder", "reader")}
    assert set(found.unfilled) == {"block_emb", *decoders}


def test_block_emb_alone_fills_openqa_in_part(plan: Plan) -> None:
    found = plan(["block_emb"], "openqa")
    assert list(found.sources) == ["block_emb"]
    assert found.unfilled == ("embedder.*", "reader.*")


def test_the_pretrained_encoder_fills_the_reader_of_openqa_but_its_head(plan: Plan) -> None:
    found = plan([*ENCODER, *EMBEDDER], "openqa")
    assert filled_from(found) == {*ENCODER, *EMBEDDER}
    head = [name for name in found.unfilled if name.startswith("reader.qa_outputs.")]
    assert len(head) == 6
    assert set(found.unfilled) - set(head) == {
        "block_emb",
        "embedder.cls.predictions.decoder.weight",
        "reader.cls.predictions.decoder.weight",
    }


def test_of_two_embedders_in_one_checkpoint_the_fine_tuned_one_is_taken(plan: Plan) -> None:
    found = plan([*ORQA, *EMBEDDER], "embedder")
    assert filled_from(found) == {name for name in ORQA if name.startswith("module/")}
    assert set(EMBEDDER) <= set(found.unused)


@pytest.mark.parametrize(
    ("names", "target", "optional"),
    [
        (EMBEDDER, "embedder", "cls/predictions"),
        (READER, "reader", "cls/predictions"),
        (READER, "reader", "pooler"),
        (ENCODER, "encoder", "pooler"),
    ],
)
def test_weights_that_change_no_result_may_be_missing_and_are_listed(
    plan: Plan, names: list[str], target: Target, optional: str
) -> None:
    found = plan([name for name in names if optional not in name], target)
    missing = sum(optional in name for name in names)
    assert missing >= 2
    assert sum("pooler" in name or "predictions" in name for name in found.unfilled) >= missing


@pytest.mark.parametrize(("names", "target"), [(EMBEDDER, "embedder"), (READER, "reader"), (ENCODER, "encoder")])
def test_any_other_missing_weight_is_an_error_that_names_it(plan: Plan, names: list[str], target: Target) -> None:
    optional = {"embedder": ("cls/",), "reader": ("cls/", "pooler"), "encoder": ("pooler",)}[target]
    needed = [name for name in names if not any(part in name for part in optional)]
    ours = {source.name: weight for weight, source in plan(names, target).sources.items()}
    for name in needed[::7]:
        with pytest.raises(ModelError, match=f"holds {target} in part; 1 weights are missing: {ours[name]}"):
            plan([other for other in names if other != name], target)


@pytest.mark.parametrize(("layers", "missing"), [((), 0), ((1, 2), 0), ((0, 2), 1), ((0, 1, 900), 2)])
def test_a_gap_in_the_layers_is_an_error(plan: Plan, layers: tuple[int, ...], missing: int) -> None:
    names = variables("encoder", "pretrained", layers)
    with pytest.raises(ModelError, match=rf"16 weights are missing: realm\.encoder\.layer\.{missing}\..* and 8 more"):
        plan(names, "encoder")


@pytest.mark.parametrize(
    ("names", "target", "hint"),
    [
        (ENCODER, "embedder", "it holds encoder"),
        (READER, "encoder", "it holds reader"),
        ([*EMBEDDER, *READER], "encoder", "it holds embedder and reader"),
        (["block_emb"], "embedder", r"it holds openqa \(block_emb alone\)"),
        (["layer/kernel"], "openqa", "it is not a checkpoint of REALM or ORQA"),
        ([], "reader", "it is not a checkpoint of REALM or ORQA"),
    ],
)
def test_a_checkpoint_of_another_network_is_an_error_that_says_which(
    plan: Plan, names: list[str], target: Target, hint: str
) -> None:
    with pytest.raises(ModelError, match=f"has {len(names)} variables and none of {target}; {hint}"):
        plan(names, target)


def test_a_kernel_that_is_no_matrix_is_an_error(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", ((name, np.zeros(3)) for name in ENCODER))
    with pytest.raises(ModelError, match=r"kernel has the shape \(3,\); expected a matrix"):
        plan_google_checkpoint(TensorBundle(tmp_path / "m"), "encoder")


def test_an_unknown_network_is_the_callers_mistake(plan: Plan) -> None:
    with pytest.raises(UsageError, match="no network 'bert'"):
        plan(ENCODER, "bert")  # type: ignore[arg-type]


def test_the_report_counts_and_names(plan: Plan) -> None:
    lines = plan([*ORQA, "global_step"], "reader").report().splitlines()
    assert lines[0].endswith("m -> reader: 50 weights filled")
    assert lines[1] == "  not filled: cls.predictions.decoder.weight"
    assert lines[2].startswith("  not used: module/module/module/LayerNorm/beta, ")
    assert lines[2].endswith(" and 40 more")
    assert lines[3] == "  of the optimiser: global_step"
