"""Goldens of the four networks: the calls made on each. RealmForOpenQA has its own file, `golden_openqa`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from golden_store import Call, Case, require_margin
from golden_weights import WEIGHTS, build, floats, ids, padded, write_weights


def embedder(case: Case, model: Any, full: bool, gradients: bool) -> None:
    """Masks of both ranks, positions, vectors instead of ids, head masks, a row of nothing but padding."""
    shown = {"output_hidden_states": True, "output_attentions": True}
    inputs = padded("embedder", [11, 7, 4], 11)
    if gradients:
        case.record(model, Call("mask_2d", inputs | shown, mode="train", backward="projected_score"))
    if model.config.hidden_act == "gelu":
        case.record(model, Call("gradient_of_hidden_state", inputs | shown, "train", backward="hidden_states.1"))
    case.record(model, Call("mask_2d_eval", inputs))
    heads = model.config.num_attention_heads
    weights = (floats("heads", 2, heads) > -0.3).float() * torch.tensor([[1.0], [0.5]])
    case.record(model, Call("head_mask_2d", inputs | shown | {"head_mask": weights}))
    square = (floats("square", 3, 11, 11) > -0.5).long() | torch.eye(11, dtype=torch.long)
    case.record(model, Call("mask_3d", inputs | shown | {"attention_mask": square}))
    if not full:
        return
    case.record(model, Call("head_mask_1d", inputs | shown | {"head_mask": weights[0]}))
    case.record(model, Call("ids_only", {"input_ids": inputs["input_ids"]}))
    case.record(model, Call("ids_only_shown", {"input_ids": inputs["input_ids"]} | shown))
    case.record(model, Call("position_ids", inputs | {"position_ids": torch.arange(10, -1, -1)[None, :]}))
    case.record(model, Call("one_token", {"input_ids": ids("one", 1, 1)} | shown))
    case.record(model, Call("longest", {"input_ids": ids("longest", 1, 48)}))
    blind = inputs["attention_mask"].clone()
    blind[1] = 0
    case.record(model, Call("row_without_visible_token", inputs | shown | {"attention_mask": blind}))
    vectors = {"inputs_embeds": floats("vectors", 3, 11, model.config.hidden_size)}
    vectors |= {"attention_mask": inputs["attention_mask"]}
    call = Call("inputs_embeds", vectors, "train", "projected_score", ("inputs_embeds",), parameters=False)
    case.record(model, call)
    case.record(model, Call("error_both", vectors | {"input_ids": inputs["input_ids"]}))
    case.record(model, Call("error_neither", {"attention_mask": inputs["attention_mask"]}))


def scorer(case: Case, model: Any, full: bool, gradients: bool) -> None:
    """Candidates of rank 3 and 2, candidates as embeddings, and the two messages for missing inputs."""
    question = padded("scorer question", [6, 4], 6)
    rows = padded("scorer candidates", [9, 5, 7, 8, 9, 3], 9)
    flat = {f"candidate_{name}": value for name, value in rows.items()}
    cube = {name: value.view(2, 3, 9) for name, value in flat.items()}
    case.record(model, Call("candidates_3d", question | cube, "train", backward="relevance_score"))
    case.record(model, Call("candidates_2d", question | flat))
    case.record(model, Call("hidden_states_are_dropped", question | cube | {"output_hidden_states": True}))
    vectors = {"candidate_inputs_embeds": floats("candidate vectors", 6, 9, model.config.hidden_size)}
    vectors |= {name: value for name, value in cube.items() if name != "candidate_input_ids"}
    leaves = ("candidate_inputs_embeds",)
    call = Call("candidate_inputs_embeds", question | vectors, "train", "relevance_score", leaves, parameters=False)
    case.record(model, call)
    case.record(model, Call("error_no_question", cube))
    case.record(model, Call("error_no_candidates", question))


def encoder(case: Case, model: Any, full: bool, gradients: bool) -> None:
    """Ids of rank 3 and 2, the marginal loss with and without a mask, the message for a missing relevance."""
    shown = {"output_hidden_states": True, "output_attentions": True}
    flat = padded("encoder", [7, 5, 3, 7, 6, 7], 7)
    cube = {name: value.view(2, 3, 7) for name, value in flat.items()}
    scores = {"relevance_score": floats("relevance", 2, 3)}
    labels = ids("labels", 2, 7)
    chosen = (floats("chosen", 2, 7) > 0.2).long()
    some = {"labels": labels.masked_fill(chosen == 0, -100), "mlm_mask": chosen}
    case.record(model, Call("ids_3d", cube | shown))
    case.record(model, Call("ids_2d", flat | scores))
    every = cube | scores | {"labels": labels}
    if full:
        case.record(model, Call("loss", cube | scores | some, "train", "loss", ("relevance_score",)))
    elif gradients:
        case.record(model, Call("loss_all_labels", every, "train", "loss", ("relevance_score",)))
    if not full:
        return
    case.record(model, Call("loss_all_labels", every))
    case.record(model, Call("loss_float_mask", cube | scores | some | {"mlm_mask": chosen.float() * 0.5}))
    two = {name: value[:, :2].contiguous() for name, value in cube.items()}
    case.record(model, Call("fewer_candidates_without_labels", two))
    vectors = {"inputs_embeds": floats("encoder vectors", 6, 7, model.config.hidden_size)}
    case.record(model, Call("inputs_embeds", vectors | {"attention_mask": flat["attention_mask"]}))
    case.record(model, Call("error_labels_without_relevance", cube | some))


def reader(case: Case, model: Any, full: bool, gradients: bool) -> None:
    """Spans with and without gold positions, several per block, none found, beyond the end, messages."""
    rows, searched, width = model.config.reader_beam_size, model.config.reader_beam_size + 2, 14
    inputs = padded("reader", [14, 11, 9][:rows], width)
    real = padded("reader", [14, 11, 9, 12, 13][:searched], width)
    evidence = (real["token_type_ids"] == 1) & (torch.arange(width) < real["attention_mask"].sum(1, keepdim=True) - 1)
    inputs |= {"relevance_score": floats("reader relevance", searched), "block_mask": evidence}
    starts = torch.tensor([[5, 8, -1], [6, -1, -1], [-1, -1, -1], [7, 9, 4], [-1, -1, -1]])[:searched]
    ends = torch.tensor([[6, 8, -1], [6, -1, -1], [-1, -1, -1], [8, 9, 5], [-1, -1, -1]])[:searched]
    gold = {"start_positions": starts, "end_positions": ends, "has_answers": (starts >= 0).any(1)}
    shown = {"output_hidden_states": True, "output_attentions": True}
    if gradients:
        case.record(model, Call("loss", inputs | gold, "train", "loss", ("relevance_score",)))
    case.record(model, Call("no_gold", inputs | shown))
    case.record(model, Call("gold_in_eval", inputs | gold))
    if not full:
        return
    nothing = {
        "start_positions": starts.new_full((searched, 2), -1),
        "has_answers": torch.zeros(searched).bool(),
    }
    nothing["end_positions"] = nothing["start_positions"]
    case.record(model, Call("nothing_found", inputs | nothing, "train", "loss", ("relevance_score",)))
    empty = starts.new_zeros(searched, 0)
    case.record(model, Call("no_columns", inputs | nothing | {"start_positions": empty, "end_positions": empty}))
    case.record(model, Call("beyond_the_end", inputs | gold | {"end_positions": ends.masked_fill(ends == 8, 99)}))
    case.record(model, Call("integer_block_mask", inputs | gold | {"block_mask": evidence.long()}))
    case.record(
        model,
        Call("positions_without_has_answers", inputs | {"start_positions": starts, "end_positions": ends}),
    )
    heads = {"head_mask": torch.tensor([1.0, 0.5] * (model.config.num_attention_heads // 2))}
    case.record(model, Call("head_mask", inputs | gold | heads))
    case.record(model, Call("error_no_relevance", {**inputs, "relevance_score": None}))
    case.record(model, Call("error_no_block_mask", {**inputs, "block_mask": None}))
    short = {name: value[:, :2] for name, value in inputs.items() if value.dim() == 2}
    case.record(model, Call("error_shorter_than_a_span", {**inputs, **short}))


_CALLS: dict[str, Callable[[Case, Any, bool, bool], None]] = {
    "embedder": embedder,
    "scorer": scorer,
    "scorer_own": scorer,
    "encoder": encoder,
    "reader": reader,
}


def write(folder: Path) -> None:
    """Weights of everything, then every call; the reader's best spans must be clearly best."""
    write_weights(folder)
    for config_name, kinds in WEIGHTS.items():
        for kind in (kind for kind in kinds if kind != "openqa"):
            model = build(config_name, kind)
            if kind == "reader":
                model.qa_outputs.register_forward_hook(watch_spans)
                model.register_forward_hook(lambda module, *_: require_margin(module.qa_outputs.scores, "reader"))
            case = Case(f"{kind}_{config_name}", kind, f"weights/{config_name}/{kind}")
            _CALLS[kind](case, model, config_name == "base", config_name != "old_pad")
            case.write(folder / "networks")


def watch_spans(module: Any, inputs: Any, output: Any) -> None:
    """Keep the span scores; relevance is added to them in place later, so they end as those compared."""
    module.scores = output[0].detach()
