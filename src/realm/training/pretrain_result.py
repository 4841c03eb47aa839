"""What `pretrain` leaves, and how it becomes what fine-tuning starts from.

    RUN/model/embedder    config.json, model.safetensors, tokenizer: a RealmEmbedder
    RUN/model/encoder     the same: a RealmKnowledgeAugEncoder
                                │
    assemble_open_qa ───────────┴─► one folder of a RealmForOpenQA: this embedder, and a reader whose trunk is the
                                    encoder's; the reader's span scores are fresh, which is what fine-tuning trains

Knows networks and folders. Read `assemble_open_qa` first.
"""

from __future__ import annotations

from pathlib import Path

import torch

from realm.errors import ModelError
from realm.models.configuration import RealmConfig
from realm.models.embedder import RealmEmbedder
from realm.models.encoder import RealmKnowledgeAugEncoder
from realm.openqa.model import RealmForOpenQA
from realm.training.tokenizer_files import copy_tokenizer
from realm.training.warm_start import WEIGHTS_FILE, find_trained, load_trained

EMBEDDER, ENCODER = "embedder", "encoder"
_SHARED_SIZES = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
    "max_position_embeddings", "type_vocab_size", "layer_norm_eps",
)  # fmt: skip


def write_result(folder: Path, embedder: RealmEmbedder, encoder: RealmKnowledgeAugEncoder, tokenizer: Path) -> None:
    """Write both networks, each as a folder that opens by itself.

    Args:
        folder: Gets the folders `embedder` and `encoder`.
        embedder: The retriever.
        encoder: The other one.
        tokenizer: A folder with the tokenizer of both.
    """
    for name, network in ((EMBEDDER, embedder), (ENCODER, encoder)):
        network.save_pretrained(folder / name)
        copy_tokenizer(tokenizer, folder / name)


def assemble_open_qa(run: Path, out: Path, max_span_width: int = 10, seed: int = 0) -> Path:
    """Write a `RealmForOpenQA` that fine-tuning starts from.

    The embedder is the pre-trained one. The reader takes trunk and masked-word head from the pre-trained encoder; its
    span scores are drawn at random, and answer nothing before they are trained.

    Args:
        run: Run folder of `realm train pretrain`, or its result.
        out: The new folder.
        max_span_width: Longest answer in word pieces.
        seed: Of the fresh weights.

    Raises:
        ModelError: There is no result, or the two networks have different sizes: one model has one configuration.
    """
    folder = run / "model" if (run / "model").is_dir() else run
    configs = {name: _config(folder / name) for name in (EMBEDDER, ENCODER)}
    for key in _SHARED_SIZES:
        first, second = (getattr(config, key) for config in configs.values())
        if first != second:
            raise ModelError(
                f"{folder}: {key} is {first} in the embedder and {second} in the encoder; in one model they are the "
                "same. Pre-train again with encoder or extra_layers chosen so, or fine-tune from the two folders."
            )
    embedder = RealmEmbedder(configs[EMBEDDER])
    load_trained(embedder, folder / EMBEDDER)
    encoder = RealmKnowledgeAugEncoder(configs[ENCODER])
    load_trained(encoder, folder / ENCODER)
    values = configs[ENCODER].to_dict() | {
        "retriever_proj_size": configs[EMBEDDER].retriever_proj_size,
        "max_span_width": max_span_width,
        "architectures": ["RealmForOpenQA"],
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = RealmForOpenQA(RealmConfig.from_dict(values))
    model.embedder.load_state_dict(embedder.state_dict())
    model.reader.realm.load_state_dict(encoder.realm.state_dict())
    model.reader.cls.load_state_dict(encoder.cls.state_dict())
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    copy_tokenizer(folder / ENCODER, out)
    return out


def _config(folder: Path) -> RealmConfig:
    if not (folder / WEIGHTS_FILE).is_file():
        raise ModelError(f"No {WEIGHTS_FILE} in {folder}: expected the result of a run of `realm train pretrain`.")
    config: RealmConfig = RealmConfig.from_pretrained(find_trained(str(folder)))
    return config
