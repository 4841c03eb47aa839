"""RealmScorer: how relevant each given candidate is to a question."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers.utils import CONFIG_NAME, ModelOutput

from realm.models.checkpoints import Checkpoint, find_file
from realm.models.configuration import RealmConfig
from realm.models.embedder import RealmEmbedder
from realm.models.heads import UNUSED_HEAD_KEYS
from realm.models.trunk import RealmPreTrainedModel, returns_tuple


@dataclass
class RealmScorerOutput(ModelOutput):
    """Output of `RealmScorer`.

    Attributes:
        relevance_score: Inner product of question and candidate, (batch, candidates).
        query_score: Vector of each question, (batch, retriever_proj_size).
        candidate_score: Vector of each candidate, (batch, candidates, retriever_proj_size).
    """

    relevance_score: Tensor | None = None
    query_score: Tensor | None = None
    candidate_score: Tensor | None = None


class RealmScorer(RealmPreTrainedModel):
    """Scores candidates by relevance[b, n] = query[b] . candidate[b, n].

    Args:
        config: Of both embedders.
        query_embedder: A separate embedder for questions; without it one embedder serves both sides.

    Differs: in transformers 4.37.2 a separate query embedder is not found again after saving, and its weights
        overwrite the other's. Here `config.separate_query_embedder` remembers it, and files that 4.37.2 wrote
        are recognised by holding two sets that differ.
    """

    _keys_to_ignore_on_load_missing: list[str] = [UNUSED_HEAD_KEYS]
    _keys_to_ignore_on_load_unexpected: list[str] = [
        *RealmPreTrainedModel._keys_to_ignore_on_load_unexpected,
        r"^query_embedder\.",
    ]

    def __init__(self, config: RealmConfig, query_embedder: RealmEmbedder | None = None) -> None:
        if query_embedder is not None and not config.separate_query_embedder:
            # A copy: the caller may build other networks with this configuration.
            config = copy.deepcopy(config)
            config.separate_query_embedder = True
        super().__init__(config)
        self.embedder = RealmEmbedder(config)
        if config.separate_query_embedder:
            self.query_embedder = RealmEmbedder(config) if query_embedder is None else query_embedder
        self.register_load_state_dict_pre_hook(_drop_aliases)
        self.post_init()

    def __getattr__(self, name: str) -> Any:
        # A shared embedder is registered once, so that it is saved, moved and trained once.
        if name == "query_embedder" and "query_embedder" not in self._modules:
            return self.embedder
        return super().__getattr__(name)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | Path,
        *model_args: Any,
        query_embedder: RealmEmbedder | None = None,
        **kwargs: Any,
    ) -> RealmScorer:
        """Load a scorer; a `query_embedder` given here replaces the one of the checkpoint.

        With `separate_query_embedder=True`, or a configuration that says so, questions get an embedder of their own,
        which starts as a copy of a shared one; with `False` the shared one alone is loaded.
        """
        wanted = kwargs.pop("separate_query_embedder", None)
        if wanted is None and isinstance(kwargs.get("config"), RealmConfig):
            wanted = kwargs["config"].separate_query_embedder or None
        checkpoint = Checkpoint(pretrained_model_name_or_path, kwargs)
        names = {key.split(".")[0] for key in checkpoint} & {"embedder", "query_embedder"}
        if names == {"query_embedder"}:
            kwargs["key_mapping"] = {r"^query_embedder\.": "embedder.", **(kwargs.get("key_mapping") or {})}
        separate = query_embedder is None and len(names) == 2
        # 4.37.2 may write a shared embedder under both names, and never says which of the two it did.
        if separate and not _says_separate(pretrained_model_name_or_path, kwargs):
            separate = not _is_repeated(checkpoint)
        separate = separate and wanted is not False
        if isinstance(kwargs.get("config"), RealmConfig):
            kwargs["config"] = copy.deepcopy(kwargs["config"])
            kwargs["config"].separate_query_embedder = separate
        else:
            kwargs["separate_query_embedder"] = separate
        loaded = super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)
        scorer = loaded[0] if isinstance(loaded, tuple) else loaded
        if query_embedder is None and wanted and not separate:
            query_embedder = copy.deepcopy(scorer.embedder)
        if query_embedder is not None:
            # Order: after loading, so that no stored weights go into it.
            scorer.query_embedder = query_embedder
            scorer.config.separate_query_embedder = True
        return cast(RealmScorer, loaded)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        candidate_input_ids: Tensor | None = None,
        candidate_attention_mask: Tensor | None = None,
        candidate_token_type_ids: Tensor | None = None,
        candidate_inputs_embeds: Tensor | None = None,
        head_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> tuple[Any, ...] | RealmScorerOutput:
        """Score the candidates of each question.

        Args:
            input_ids: Questions, (batch, pieces).
            attention_mask: 1 where attended, (batch, pieces).
            token_type_ids: (batch, pieces).
            position_ids: For questions, and for candidates where the shape fits both, (batch, pieces).
            candidate_input_ids: (batch, candidates, candidate_pieces), or already flat (batch * candidates, ...).
            candidate_attention_mask: Like `candidate_input_ids`.
            candidate_token_type_ids: Like `candidate_input_ids`.
            candidate_inputs_embeds: Instead of ids, with a last dimension `hidden`.
            head_mask: (heads,) or (layers, heads), for both sides.
            inputs_embeds: Instead of `input_ids`, (batch, pieces, hidden).
            output_attentions: Accepted for compatibility; nothing is returned for it.
            output_hidden_states: Likewise.
            return_dict: A tuple instead of the output class if False.

        Raises:
            ValueError: Question or candidates are missing, or candidates do not divide by questions.
        """
        if input_ids is None and inputs_embeds is None:
            raise ValueError("You have to specify either input_ids or input_embeds.")
        if candidate_input_ids is None and candidate_inputs_embeds is None:
            raise ValueError("You have to specify either candidate_input_ids or candidate_inputs_embeds.")
        query = self.query_embedder(
            input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            head_mask=head_mask,
            inputs_embeds=inputs_embeds,
            return_dict=True,
        ).projected_score
        candidates = self.embedder(
            flatten_candidates(candidate_input_ids, 1),
            attention_mask=flatten_candidates(candidate_attention_mask, 1),
            token_type_ids=flatten_candidates(candidate_token_type_ids, 1),
            position_ids=position_ids if _fits(position_ids, candidate_input_ids, candidate_inputs_embeds) else None,
            head_mask=head_mask,
            inputs_embeds=flatten_candidates(candidate_inputs_embeds, 2),
            return_dict=True,
        ).projected_score
        if candidates.size(0) % query.size(0):
            raise ValueError(
                f"{candidates.size(0)} candidates cannot be divided among {query.size(0)} questions: "
                "give every question the same number."
            )
        candidates = candidates.view(query.size(0), -1, candidates.size(-1))
        output = RealmScorerOutput(
            relevance_score=torch.einsum("bd,bnd->bn", query, candidates),
            query_score=query,
            candidate_score=candidates,
        )
        return output.to_tuple() if returns_tuple(self.config, return_dict) else output


def flatten_candidates(tensor: Tensor | None, trailing: int) -> Tensor | None:
    """(batch, candidates, ...) to (batch * candidates, ...), where `...` has `trailing` dimensions.

    What is already flat passes through. Non-contiguous tensors are copied.
    """
    if tensor is None or tensor.dim() == 1 + trailing:
        return tensor
    return tensor.reshape(-1, *tensor.shape[-trailing:])


def _fits(position_ids: Tensor | None, ids: Tensor | None, embeds: Tensor | None) -> bool:
    if position_ids is None:
        return False
    shape = ids.shape if ids is not None else cast(Tensor, embeds).shape[:-1]
    return position_ids.size(-1) == shape[-1] and position_ids.size(0) in (1, math.prod(shape[:-1]))


def _says_separate(name_or_path: str | Path, options: dict[str, Any]) -> bool:
    """Whether the configuration beside the weights, or else the one given, says that there are two embedders."""
    path = find_file(str(name_or_path), CONFIG_NAME, options)
    if path is None:
        return bool(getattr(options.get("config"), "separate_query_embedder", False))
    return bool(json.loads(path.read_text(encoding="utf-8")).get("separate_query_embedder", False))


def _is_repeated(checkpoint: Checkpoint) -> bool:
    """Whether both names stand for the same weights."""
    pairs = [(key, key.removeprefix("query_")) for key in checkpoint if key.startswith("query_embedder.")]
    return all(other in checkpoint and torch.equal(checkpoint[key], checkpoint[other]) for key, other in pairs)


def _drop_aliases(scorer: RealmScorer, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """A shared embedder's alias names in a foreign state dict are not unexpected; other weights under them are."""
    if "query_embedder" not in scorer._modules:
        for key in [key for key in state if key.startswith(f"{prefix}query_embedder.")]:
            other = prefix + key.removeprefix(f"{prefix}query_")
            if other in state and torch.equal(state[key], state[other]):
                del state[key]
