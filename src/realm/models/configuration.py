"""RealmConfig: every size and constant of the networks, with the names, order and defaults of transformers 4.37.2."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PreTrainedConfig

LEGACY_PAD_TOKEN_ID = 1
"""Default of transformers 4.37.2 and of every released config; it names `[unused0]`, while `[PAD]` is 0."""

_CHOSEN_BY_CALLERS = ("attn_implementation", "_attn_implementation")


class RealmConfig(PreTrainedConfig):
    """Configuration of all REALM networks.

    Unknown keywords become attributes and survive saving (released checkpoints carry `searcher_seq_len`), except
    settings of text generation, which transformers drops.

    Args:
        vocab_size: Word pieces of the vocabulary.
        hidden_size: Width of the encoder trunk.
        retriever_proj_size: Dimensions of a question or block vector.
        num_hidden_layers: Layers of the trunk.
        num_attention_heads: Heads per layer; must divide `hidden_size`.
        num_candidates: Candidates per question in pre-training. The networks take the count from their input.
        intermediate_size: Width of the feed-forward layers.
        hidden_act: Activation of the feed-forward layers.
        hidden_dropout_prob: Dropout of hidden states.
        attention_probs_dropout_prob: Dropout of attention probabilities.
        max_position_embeddings: Longest input in word pieces.
        type_vocab_size: Number of segment ids.
        initializer_range: Standard deviation of fresh weights.
        layer_norm_eps: Epsilon of the layer norms of trunk and embedder.
        span_hidden_size: Width of one half of the reader's span representation.
        max_span_width: Longest answer in word pieces.
        reader_layer_norm_eps: Epsilon of the reader's layer norm.
        reader_beam_size: Blocks the reader reads per question.
        reader_seq_len: Longest reader input (question and block) in word pieces.
        num_block_records: Rows of `RealmForOpenQA.block_emb`.
        searcher_beam_size: Blocks retrieved per question in training.
        pad_token_id: Row of the word embeddings that takes no gradient. See `padding_row`.
        bos_token_id: Unused; kept for old files.
        eos_token_id: Unused; kept for old files.
        separate_query_embedder: Whether a `RealmScorer` has an embedder of its own for questions.

    Differs: transformers 4.37.2 has `pad_token_id=1`, which is not the id of `[PAD]`.
    """

    model_type = "realm"

    def __init__(
        self,
        vocab_size: int = 30522,
        hidden_size: int = 768,
        retriever_proj_size: int = 128,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 12,
        num_candidates: int = 8,
        intermediate_size: int = 3072,
        hidden_act: str = "gelu_new",
        hidden_dropout_prob: float = 0.1,
        attention_probs_dropout_prob: float = 0.1,
        max_position_embeddings: int = 512,
        type_vocab_size: int = 2,
        initializer_range: float = 0.02,
        layer_norm_eps: float = 1e-12,
        span_hidden_size: int = 256,
        max_span_width: int = 10,
        reader_layer_norm_eps: float = 1e-3,
        reader_beam_size: int = 5,
        reader_seq_len: int = 320,
        num_block_records: int = 13353718,
        searcher_beam_size: int = 5000,
        pad_token_id: int | None = 0,
        bos_token_id: int | None = 0,
        eos_token_id: int | None = 2,
        separate_query_embedder: bool = False,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.retriever_proj_size = retriever_proj_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_candidates = num_candidates
        self.intermediate_size = intermediate_size
        self.hidden_act = hidden_act
        self.hidden_dropout_prob = hidden_dropout_prob
        self.attention_probs_dropout_prob = attention_probs_dropout_prob
        self.max_position_embeddings = max_position_embeddings
        self.type_vocab_size = type_vocab_size
        self.initializer_range = initializer_range
        self.layer_norm_eps = layer_norm_eps
        self.span_hidden_size = span_hidden_size
        self.max_span_width = max_span_width
        self.reader_layer_norm_eps = reader_layer_norm_eps
        self.reader_beam_size = reader_beam_size
        self.reader_seq_len = reader_seq_len
        self.num_block_records = num_block_records
        self.searcher_beam_size = searcher_beam_size
        self.pad_token_id = pad_token_id
        self.bos_token_id = bos_token_id
        self.eos_token_id = eos_token_id
        self.separate_query_embedder = separate_query_embedder
        kwargs.setdefault("tie_word_embeddings", True)
        kwargs.setdefault("is_decoder", False)
        super().__init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> RealmConfig:
        """Make a configuration of stored values, except for an attention back-end: that is a caller's choice.

        Some names of back-ends are those of code on the Hub, which would be fetched and run.
        """
        stored = {key: value for key, value in config_dict.items() if key not in _CHOSEN_BY_CALLERS}
        return super().from_dict(stored, **kwargs)

    @property
    def padding_row(self) -> int | None:
        """Row of the word embeddings that is zero when fresh and takes no gradient.

        A value of 1 is read as 0: it is the mistaken default of transformers 4.37.2, not a choice.
        """
        return 0 if self.pad_token_id == LEGACY_PAD_TOKEN_ID else self.pad_token_id


AutoConfig.register(RealmConfig.model_type, RealmConfig, exist_ok=True)
