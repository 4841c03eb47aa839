"""RealmReader: finds the answer span in retrieved blocks, scoring all spans of all blocks together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForQuestionAnswering
from transformers.utils import ModelOutput

from realm.models.configuration import RealmConfig
from realm.models.heads import UNUSED_HEAD_KEYS, RealmNetwork, RealmOnlyMLMHead
from realm.models.losses import marginal_likelihood
from realm.models.spans import allowed_spans, best_spans, correct_spans, span_candidates
from realm.models.trunk import RealmBertModel, returns_tuple


@dataclass
class RealmReaderOutput(ModelOutput):
    """Output of `RealmReader`; with several questions every field but the losses has a leading batch dimension.

    Attributes:
        loss: retriever_loss + reader_loss, shape (); mean over questions. None without answers.
        retriever_loss: Early-update loss over all `searcher_beam` relevance scores.
        reader_loss: Loss over all spans of the blocks read.
        retriever_correct: `has_answers` as given, (searcher_beam,).
        reader_correct: Whether each span is right, (blocks, spans).
        block_idx: Block of the best span, shape (); -1 if no span is allowed.
        candidate: Index of the best span among the block's spans, shape (); -1 likewise.
        start_pos: First piece of the best span, shape (1,); -1 likewise.
        end_pos: Last piece of the best span, inclusive, shape (1,); -1 likewise.
        hidden_states: Of the trunk, if asked for.
        attentions: Of the trunk, if asked for.
    """

    loss: Tensor | None = None
    retriever_loss: Tensor | None = None
    reader_loss: Tensor | None = None
    retriever_correct: Tensor | None = None
    reader_correct: Tensor | None = None
    block_idx: Tensor | None = None
    candidate: Tensor | None = None
    start_pos: Tensor | None = None
    end_pos: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class RealmReaderProjection(nn.Module):
    """Span score: w . LN(relu(P_start + Q_end)) + b, with [P | Q] = W h."""

    def __init__(self, config: RealmConfig) -> None:
        super().__init__()
        self.dense_intermediate = nn.Linear(config.hidden_size, config.span_hidden_size * 2)
        self.dense_output = nn.Linear(config.span_hidden_size, 1)
        self.layer_normalization = nn.LayerNorm(config.span_hidden_size, eps=config.reader_layer_norm_eps)

    def forward(self, hidden: Tensor, max_span_width: int) -> Tensor:
        """(rows, pieces, hidden) to (rows, spans), in the order of `span_candidates`.

        Width by width: so many vectors stay in a processor's cache (2.6 times faster than all at once).
        """
        starts, ends = self.dense_intermediate(hidden).chunk(2, dim=-1)
        pieces = hidden.size(1)
        widths = range(min(max_span_width, pieces))
        scores = [self._scores(starts[:, : pieces - width], ends[:, width:]) for width in widths]
        return torch.cat(scores, dim=-1)

    def _scores(self, starts: Tensor, ends: Tensor) -> Tensor:
        spans = nn.functional.relu(starts + ends)
        return cast(Tensor, self.dense_output(self.layer_normalization(spans)).squeeze(-1))


class RealmReader(RealmNetwork):
    """Reads `[CLS] question [SEP] block [SEP]` for each block of a question.

    Differs: also takes a batch of questions, by one more leading dimension on every argument. See
        `best_spans` and `marginal_likelihood` for what transformers 4.37.2 gets wrong.
    """

    _tied_weights_keys = {"cls.predictions.decoder.bias": "cls.predictions.bias"}
    _keys_to_ignore_on_load_missing: list[str] = [UNUSED_HEAD_KEYS]

    def __init__(self, config: RealmConfig) -> None:
        super().__init__(config)
        self.realm = RealmBertModel(config)
        self.cls = RealmOnlyMLMHead(config)
        self.qa_outputs = RealmReaderProjection(config)
        self.post_init()

    def span_scores(self, hidden: Tensor) -> Tensor:
        """Score of every span of `span_candidates` by the reader alone, without the retrieval score: (rows, spans)."""
        return cast(Tensor, self.qa_outputs(hidden, self.config.max_span_width))

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        head_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        relevance_score: Tensor | None = None,
        block_mask: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        has_answers: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> tuple[Any, ...] | RealmReaderOutput:
        """Pick the best span, and with answers compute the losses.

        Args:
            input_ids: (blocks, pieces), or (batch, blocks, pieces) for several questions; likewise below.
            attention_mask: 1 where attended, like `input_ids`.
            token_type_ids: 0 for the question, 1 for the block, like `input_ids`.
            position_ids: Like `input_ids`.
            head_mask: (heads,) or (layers, heads).
            inputs_embeds: Instead of ids, with a last dimension `hidden`.
            relevance_score: Retrieval score of each retrieved block, (searcher_beam,); the first `blocks` are read.
            block_mask: True on the pieces of the block, (at least blocks, pieces).
            start_positions: First piece of each answer in each block, (searcher_beam, answers), -1 for none.
                One position per block may be given as (searcher_beam,).
            end_positions: Last piece, inclusive; like `start_positions`.
            has_answers: Whether each retrieved block holds an answer, (searcher_beam,).

        Raises:
            ValueError: `relevance_score` or `block_mask` is missing; the input is shorter than the widest span;
                `relevance_score`, `block_mask` or positions for fewer blocks than there are.
        """
        if relevance_score is None:
            raise ValueError("You have to specify `relevance_score` to calculate logits and loss.")
        if block_mask is None:
            raise ValueError("You have to specify `block_mask` to separate question block and evidence block.")
        trunk, batch, blocks = self._encode(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            head_mask,
            inputs_embeds,
            output_attentions,
            output_hidden_states,
        )
        hidden = trunk.last_hidden_state
        one_question = relevance_score.dim() == 1
        relevance = relevance_score.reshape(batch, -1)
        candidates = span_candidates(hidden.size(1), self.config.max_span_width, hidden.device)
        mask = block_mask.reshape(batch, -1, hidden.size(1)).bool()
        allowed = allowed_spans(_first("block_mask", mask, blocks), candidates)
        scores = self.span_scores(hidden).view(batch, blocks, -1)
        scores = scores + _first("relevance_score", relevance, blocks)[..., None]
        scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
        output = RealmReaderOutput(hidden_states=trunk.hidden_states, attentions=trunk.attentions)
        if start_positions is not None and end_positions is not None and has_answers is not None:
            starts = _first("start_positions", _per_block(start_positions, one_question), blocks)
            ends = _first("end_positions", _per_block(end_positions, one_question), blocks)
            correct = correct_spans(starts, ends, candidates) & allowed
            self._add_losses(output, scores, correct, relevance, has_answers.reshape(batch, -1).bool())
            output.retriever_correct = has_answers
            output.reader_correct = correct[0] if one_question else correct
        best = best_spans(scores.detach(), allowed, candidates)
        shape = () if one_question else (batch,)
        output.block_idx, output.candidate = best.block.view(shape), best.candidate.view(shape)
        output.start_pos, output.end_pos = best.start, best.end
        return _in_order(output).to_tuple() if returns_tuple(self.config, return_dict) else _in_order(output)

    def _encode(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
        head_mask: Tensor | None,
        inputs_embeds: Tensor | None,
        output_attentions: bool | None,
        output_hidden_states: bool | None,
    ) -> tuple[Any, int, int]:
        """Trunk output over flat rows, with the number of questions and of blocks per question."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("You have to specify either input_ids or inputs_embeds, and not both.")
        shape = input_ids.shape if input_ids is not None else cast(Tensor, inputs_embeds).shape[:-1]
        if shape[-1] < self.config.max_span_width:
            raise ValueError("The input sequence length must be greater than or equal to config.max_span_width.")

        def flat(tensor: Tensor | None) -> Tensor | None:
            several = tensor is not None and len(shape) == 3
            return cast(Tensor, tensor).flatten(0, 1) if several else tensor

        trunk = self.realm(
            flat(input_ids),
            attention_mask=flat(attention_mask),
            token_type_ids=flat(token_type_ids),
            position_ids=flat(position_ids),
            head_mask=head_mask,
            inputs_embeds=flat(inputs_embeds),
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        return trunk, (shape[0] if len(shape) == 3 else 1), shape[-2]

    @staticmethod
    def _add_losses(
        output: RealmReaderOutput, scores: Tensor, correct: Tensor, relevance: Tensor, has_answers: Tensor
    ) -> None:
        retriever_loss = marginal_likelihood(relevance, has_answers).mean()
        reader_loss = marginal_likelihood(scores.flatten(1), correct.flatten(1)).mean()
        output.loss = retriever_loss + reader_loss
        output.retriever_loss, output.reader_loss = retriever_loss, reader_loss


def _first(name: str, of_each_block: Tensor, blocks: int) -> Tensor:
    """The part for the blocks that are read; more may have been retrieved."""
    if of_each_block.size(1) < blocks:
        raise ValueError(f"{blocks} blocks are to be read, but {name} is given for {of_each_block.size(1)}.")
    return of_each_block[:, :blocks]


def _per_block(positions: Tensor, one_question: bool) -> Tensor:
    """Answer positions as (batch, blocks, answers), also where one position per block was given."""
    if one_question:
        positions = positions[None]
    if positions.dim() == 2:
        positions = positions[..., None]
    return positions if positions.size(-1) else positions.new_full((*positions.shape[:-1], 1), -1)


def _in_order(output: RealmReaderOutput) -> RealmReaderOutput:
    """ModelOutput keeps the order in which fields were set; tuples must follow the declared order."""
    return RealmReaderOutput(**{name: getattr(output, name) for name in output.__dataclass_fields__})


AutoModelForQuestionAnswering.register(RealmConfig, RealmReader, exist_ok=True)
