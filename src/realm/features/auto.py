"""Makes transformers' Auto classes know `realm`; importing this file is what does it.

The front door and everything that composes networks with tokenizers imports it. It stands on this floor because
it needs both.
"""

from __future__ import annotations

from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForQuestionAnswering

from realm.models.configuration import RealmConfig
from realm.models.embedder import RealmEmbedder
from realm.models.encoder import RealmKnowledgeAugEncoder
from realm.models.reader import RealmReader
from realm.text.tokenization import register_tokenizers

AutoConfig.register(RealmConfig.model_type, RealmConfig, exist_ok=True)
AutoModel.register(RealmConfig, RealmEmbedder, exist_ok=True)
AutoModelForMaskedLM.register(RealmConfig, RealmKnowledgeAugEncoder, exist_ok=True)
AutoModelForQuestionAnswering.register(RealmConfig, RealmReader, exist_ok=True)
register_tokenizers(RealmConfig)
