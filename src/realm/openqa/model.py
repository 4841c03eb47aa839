"""RealmForOpenQA: question ids in, answer ids out, over any searcher."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from transformers.utils import ModelOutput

from realm.errors import ModelError
from realm.models.configuration import RealmConfig
from realm.models.embedder import RealmEmbedder
from realm.models.reader import RealmReader, RealmReaderOutput
from realm.models.trunk import RealmPreTrainedModel, returns_tuple
from realm.openqa.answer_search import answers_of_each
from realm.openqa.block_vectors import BLOCK_EMB_FILE, read_block_emb, write_block_emb
from realm.openqa.exact_top_k import exact_top_k
from realm.openqa.readings import Reading, stack
from realm.openqa.retriever import RealmRetriever, body_mask

_LOG = logging.getLogger(__name__)


class Searcher(Protocol):
    """Finds blocks for question vectors, and gives the blocks' vectors back for the gradient."""

    def search(self, questions: Tensor, k: int) -> Tensor:
        """Numbers of the k best blocks of each question, best first: (questions, k) int64."""

    def embeddings(self, block_ids: Tensor) -> Tensor:
        """Vectors of blocks: (blocks, dim), on the processor."""


@dataclass
class RealmForOpenQAOutput(ModelOutput):
    """Output of `RealmForOpenQA`.

    Attributes:
        reader_output: What the reader gave.
        predicted_answer_ids: Word pieces of the answer, 1-D; empty for no answer. A list for several questions.
    """

    reader_output: RealmReaderOutput | None = None
    predicted_answer_ids: Tensor | list[Tensor] | None = None


class RealmForOpenQA(RealmPreTrainedModel):
    """Embedder, searcher, retriever and reader as one model.

    Args:
        config: Sizes; `searcher_beam_size` blocks are retrieved in training, `reader_beam_size` are read.
        retriever: Texts of the blocks.
        searcher: Searches the blocks; by default all rows of `block_emb`, exactly.

    Attributes:
        block_emb: Vectors of the blocks, (num_block_records, retriever_proj_size), float32 or half precision;
            zeros until given. Not among the weights: it lies beside them as `block_emb.safetensors`, from where
            it is memory-mapped, and is read out of checkpoints that hold it inside.

    Differs: transformers 4.37.2 takes one question at a time and scans `block_emb` in float32 only. With
        `config.separate_query_embedder`, questions have an embedder of their own beside that of the blocks.
    """

    _keys_to_ignore_on_load_unexpected: list[str] = [
        *RealmPreTrainedModel._keys_to_ignore_on_load_unexpected,
        r"^block_emb$",
        r"^query_embedder\.",
    ]

    def __init__(
        self, config: RealmConfig, retriever: RealmRetriever | None = None, searcher: Searcher | None = None
    ) -> None:
        super().__init__(config)
        self.embedder = RealmEmbedder(config)
        if config.separate_query_embedder:
            self.query_embedder = RealmEmbedder(config)
        self.reader = RealmReader(config)
        self.retriever = retriever
        self.searcher = searcher
        self._block_emb: Tensor | None = None
        self.post_init()

    @property
    def question_embedder(self) -> RealmEmbedder:
        """What embeds questions: one of its own after fine-tuning with fixed blocks, else that of the blocks."""
        return cast(RealmEmbedder, self._modules.get("query_embedder", self.embedder))

    @property
    def searcher_beam_size(self) -> int:
        """How many blocks are retrieved: the searcher's beam in training, the reader's otherwise."""
        return self.config.searcher_beam_size if self.training else self.config.reader_beam_size

    @property
    def block_emb(self) -> Tensor:
        """Vectors of the blocks."""
        if self._block_emb is None:
            _LOG.warning(
                "No vectors of blocks were given or found: all %d rows of block_emb are zeros. Set model.block_emb or "
                "model.searcher, or put %s into the model's folder.", self.config.num_block_records, BLOCK_EMB_FILE,
            )  # fmt: skip
            self._block_emb = torch.zeros(self.config.num_block_records, self.config.retriever_proj_size)
        return self._block_emb

    @block_emb.setter
    def block_emb(self, value: Tensor) -> None:
        if value.dim() != 2 or value.size(1) != self.config.retriever_proj_size:
            raise ModelError(
                f"block_emb has shape {tuple(value.shape)}; expected (blocks, {self.config.retriever_proj_size})."
            )
        self._block_emb = value.detach()

    def block_embedding_to(self, device: torch.device | str) -> None:
        """Move `block_emb` alone to a device."""
        self._block_emb = self.block_emb.to(device)

    def forward(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        answer_ids: Any = None,
        return_dict: bool | None = None,
    ) -> tuple[Any, ...] | RealmForOpenQAOutput:
        """Answer questions.

        Args:
            input_ids: Questions, (batch, pieces).
            attention_mask: 1 on pieces, 0 on padding, (batch, pieces).
            token_type_ids: (batch, pieces).
            answer_ids: Right answers as word pieces, for the losses. One question: a list of answers, each a list
                of ids, or a tensor padded with -1. Several: one such per question, or None where there is none.
            return_dict: A tuple instead of the output class if False.

        Raises:
            ValueError: There is no retriever, or not one list of answers per question.
            TypeError: `answer_ids` are something else.
        """
        if self.retriever is None:
            raise ValueError("RealmForOpenQA needs a retriever: set model.retriever, or give it to from_pretrained.")
        if input_ids is None:
            raise ValueError("You have to specify input_ids.")
        questions = input_ids.size(0)
        answers = answers_of_each(answer_ids, questions)
        question_vectors = self.question_embedder(
            input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids, return_dict=True
        ).projected_score
        block_ids = self._search(question_vectors.detach())
        block_vectors = self._embeddings(block_ids.reshape(-1)).view(*block_ids.shape, -1)
        relevance = torch.einsum("qd,qkd->qk", question_vectors, block_vectors.to(question_vectors))
        reading = [
            self._reading(ids, question, found, answer)
            for ids, question, found, answer in zip(block_ids.tolist(), input_ids, relevance, answers, strict=True)
        ]
        output = self._read(stack(reading, self._pad_id), relevance, one_question=questions == 1)
        predicted = [self._predicted(reading[q], output, q) for q in range(questions)]
        result = RealmForOpenQAOutput(
            reader_output=output,
            predicted_answer_ids=predicted[0] if questions == 1 else predicted,
        )
        return (output, result.predicted_answer_ids) if returns_tuple(self.config, return_dict) else result

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *model_args: Any, **kwargs: Any
    ) -> RealmForOpenQA:
        """Load a model; `block_emb` comes from its own file, or else from inside the checkpoint."""
        loaded = super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded  # a pair with `output_loading_info=True`
        block_emb = read_block_emb(os.fspath(pretrained_model_name_or_path), kwargs)
        if block_emb is not None:
            model._take_block_emb(block_emb)
        return cast(RealmForOpenQA, loaded)

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *args: Any, block_emb_inside: bool = False, **kwargs: Any
    ) -> None:
        """Write the model, and `block_emb` beside it; a model without one leaves none of an earlier model there.

        Args:
            save_directory: Folder.
            block_emb_inside: Put `block_emb` among the weights instead, where transformers 4.37.2 looks for it.
            args: As in transformers.
            kwargs: As in transformers.
        """
        if block_emb_inside:
            state = kwargs.pop("state_dict", None) or self.state_dict()
            kwargs["state_dict"] = {**state, "block_emb": self.block_emb.float()}
        elif self._block_emb is not None:
            # Order: before the weights, because transformers uploads (`push_to_hub=True`) as soon as these are written.
            write_block_emb(Path(save_directory), self._block_emb)
        super().save_pretrained(save_directory, *args, **kwargs)
        if block_emb_inside or self._block_emb is None:
            Path(save_directory, BLOCK_EMB_FILE).unlink(missing_ok=True)

    def _get_files_timestamps(self, working_dir: str | os.PathLike[str]) -> dict[str, float]:
        """What transformers takes as there before saving, and so does not upload; `block_emb` was just written."""
        before: dict[str, float] = super()._get_files_timestamps(working_dir)
        return {name: stamp for name, stamp in before.items() if name != BLOCK_EMB_FILE}

    def _take_block_emb(self, block_emb: Tensor) -> None:
        if block_emb.size(0) != self.config.num_block_records:
            raise ModelError(
                f"block_emb has {block_emb.size(0)} rows; the config says num_block_records="
                f"{self.config.num_block_records}."
            )
        self.block_emb = block_emb

    @property
    def _pad_id(self) -> int:
        return int(cast(RealmRetriever, self.retriever).tokenizer.pad_token_id or 0)

    def _search(self, question_vectors: Tensor) -> Tensor:
        if self.searcher is not None:
            return self.searcher.search(question_vectors, self.searcher_beam_size).to(torch.long)
        return exact_top_k(self.block_emb, question_vectors, self.searcher_beam_size)

    def _embeddings(self, block_ids: Tensor) -> Tensor:
        if self.searcher is not None:
            return self.searcher.embeddings(block_ids)
        return self.block_emb.index_select(0, block_ids.to(self.block_emb.device))

    def _reading(self, ids: list[int], question_ids: Tensor, relevance: Tensor, answers: Any) -> Reading:
        """The first `reader_beam_size` blocks of a question as reader rows, and the answers in all of them."""
        retriever = cast(RealmRetriever, self.retriever)
        blocks = min(self.config.reader_beam_size, len(ids))
        question = retriever.question_pieces(question_ids.cpu())
        bodies = retriever.bodies(ids, retriever.body_room(len(question), self.config.reader_seq_len))
        # Padded to the longest of all retrieved blocks, as in 4.37.2: span numbers depend on it.
        concat = retriever.concat(question, bodies[:blocks], max(map(len, bodies)))
        inputs = {key: torch.tensor(value) for key, value in concat.items()}
        if answers is None:
            return Reading(inputs, body_mask(concat), None, None, None)
        has_answers, starts, ends = retriever.find_answers(bodies, answers, len(question) + 2)
        first, last = (torch.tensor(positions[:blocks]) for positions in (starts, ends))
        return Reading(inputs, body_mask(concat), first, last, torch.tensor(has_answers, device=relevance.device))

    def _read(self, reading: Reading, relevance: Tensor, one_question: bool) -> RealmReaderOutput:
        batched = reading.to(self.reader.device)
        if one_question:
            batched, relevance = batched.first(), relevance[0]
        return cast(
            RealmReaderOutput,
            self.reader(
                input_ids=batched.inputs["input_ids"],
                attention_mask=batched.inputs["attention_mask"],
                token_type_ids=batched.inputs["token_type_ids"],
                relevance_score=relevance.to(self.reader.device),
                block_mask=batched.block_mask,
                start_positions=batched.starts,
                end_positions=batched.ends,
                has_answers=batched.has_answers,
                return_dict=True,
            ),
        )

    def _predicted(self, reading: Reading, output: RealmReaderOutput, question: int) -> Tensor:
        block, start, end = (
            int(cast(Tensor, field).reshape(-1)[question])
            for field in (output.block_idx, output.start_pos, output.end_pos)
        )
        ids = reading.inputs["input_ids"]
        return ids[block, start : end + 1] if block >= 0 else ids.new_empty(0)
