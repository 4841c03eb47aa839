"""Every error a caller of realm can cause, as one tree.

    RealmError
    ├── UsageError            the caller's mistake: the command line exits with 2
    │   ├── SourceError       a document, question or record cannot be read as what it claims to be
    │   ├── QuestionError     a question is empty, or longer than the model can take
    │   ├── KnowledgeBaseError  a knowledge base is missing, locked, or does not hold together
    │   │   ├── BusyError         another process is writing the knowledge base
    │   │   └── CorruptFileError  a file's bytes are not those the manifest names
    │   ├── ModelError        a model folder is missing, incomplete, or not the one that was asked for
    │   ├── RecipeError       a training recipe has an unknown key or an impossible value
    │   ├── TrainingError     a training run cannot go on: a number is not finite, or there is no room
    │   └── UnsafeFileError   a file asks for code to be run (a pickle beyond plain arrays)
    └── MissingExtraError     an optional part is not installed; the message is the install line

A message has up to four parts: what was asked, what was found, what was expected, and the next command.
Anything that is not a RealmError is a bug of ours: the command line shows it and exits with 1.
"""


class RealmError(Exception):
    """Raised only through its subclasses; catch it to catch all of them."""


class UsageError(RealmError, ValueError):
    """Raised when the caller can mend the cause: a path, an option, a value, a file."""


class SourceError(UsageError):
    """Raised when a source of documents, questions or records is missing, empty, or not in its format."""


class QuestionError(UsageError):
    """Raised when a question is empty or does not fit the model."""


class KnowledgeBaseError(UsageError):
    """Raised when a knowledge base is absent, being written by another process, or inconsistent."""


class BusyError(KnowledgeBaseError):
    """Raised when another process is writing the knowledge base."""


class CorruptFileError(KnowledgeBaseError):
    """Raised when a file's size or digest differs from what the manifest says."""


class ModelError(UsageError):
    """Raised when a model folder cannot be used: missing files, wrong kind, wrong digest."""


class RecipeError(UsageError):
    """Raised when a training recipe cannot be read; the message names the key and the nearest legal one."""


class TrainingError(UsageError):
    """Raised when a training run cannot go on; its last checkpoint is whole."""


class UnsafeFileError(UsageError):
    """Raised when a legacy file contains anything but plain array data; nothing in it has been run."""


class MissingExtraError(RealmError, ImportError):
    """Raised at the moment an optional part is used without being installed."""
