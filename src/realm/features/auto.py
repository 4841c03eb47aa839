"""Makes transformers' Auto classes know all of `realm`; importing this file is what does it.

Configuration and networks make themselves known where they are defined; their tokenizers are added here, on the
first floor that knows both. The front door and everything that composes networks with tokenizers imports it.
"""

from __future__ import annotations

import realm.models.embedder
import realm.models.encoder
import realm.models.reader  # noqa: F401 - each makes itself known
from realm.models.configuration import RealmConfig
from realm.text.tokenization import register_tokenizers

register_tokenizers(RealmConfig)
