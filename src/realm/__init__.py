"""Answers questions from documents you own: a span of a document, where it stands, how sure the model is.

    import realm

    qa = realm.OpenQA.load("kb/")
    answer = qa.ask("Who wrote Middlemarch?")
    print(answer.text, answer.confidence, answer.evidence[0].title)

This is the front door. Public names are loaded on first use, so that `import realm` and `realm --help` stay
fast. The rooms behind it are drawn in ARCHITECTURE.md; they import downstairs only, and never this file.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from realm.errors import RealmError
    from realm.models.configuration import RealmConfig
    from realm.models.embedder import RealmEmbedder
    from realm.models.encoder import RealmKnowledgeAugEncoder
    from realm.models.reader import RealmReader
    from realm.models.scorer import RealmScorer
    from realm.openqa.ask import OpenQA
    from realm.openqa.encoding import TextEncoder
    from realm.openqa.knowledge_base import KnowledgeBase
    from realm.openqa.model import RealmForOpenQA
    from realm.openqa.retriever import RealmRetriever
    from realm.records import Answer, Block, Document, Evidence, Question
    from realm.text.tokenization import RealmTokenizer, RealmTokenizerFast

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Block",
    "Document",
    "Evidence",
    "KnowledgeBase",
    "OpenQA",
    "Question",
    "RealmConfig",
    "RealmEmbedder",
    "RealmError",
    "RealmForOpenQA",
    "RealmKnowledgeAugEncoder",
    "RealmReader",
    "RealmRetriever",
    "RealmScorer",
    "RealmTokenizer",
    "RealmTokenizerFast",
    "TextEncoder",
    "__version__",
]

_HOMES = {
    "Answer": "realm.records",
    "Block": "realm.records",
    "Document": "realm.records",
    "Evidence": "realm.records",
    "KnowledgeBase": "realm.openqa.knowledge_base",
    "OpenQA": "realm.openqa.ask",
    "Question": "realm.records",
    "RealmConfig": "realm.models.configuration",
    "RealmEmbedder": "realm.models.embedder",
    "RealmError": "realm.errors",
    "RealmForOpenQA": "realm.openqa.model",
    "RealmKnowledgeAugEncoder": "realm.models.encoder",
    "RealmReader": "realm.models.reader",
    "RealmRetriever": "realm.openqa.retriever",
    "RealmScorer": "realm.models.scorer",
    "RealmTokenizer": "realm.text.tokenization",
    "RealmTokenizerFast": "realm.text.tokenization",
    "TextEncoder": "realm.openqa.encoding",
}

_AUTO = "realm.features.auto"
"""Lets transformers' Auto classes know realm; imported together with the first of these homes."""
_HOMES_KNOWN_TO_AUTO = ("realm.models.", "realm.text.", "realm.openqa.")

# Hidden from type checkers: they would take a module with `__getattr__` to have every name there is.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load a public name from its home, once."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if _HOMES[name].startswith(_HOMES_KNOWN_TO_AUTO):
            import_module(_AUTO)
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """The public names, for completion; the machinery above is left out."""
    return list(__all__)
