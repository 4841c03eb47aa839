"""Why a server does not do what it was asked, where the asker's words are not the reason. Knows no HTTP.

RealmError
└── ServingError
    ├── OverloadedError    so many are waiting that this one is refused
    ├── TimedOutError      no answer in time
    ├── LeftError          nobody waits for the answer any more
    ├── StoppingError      the server is being stopped
    ├── NotFoundError      there is no such document
    ├── ReadOnlyError      the server may not change documents
    └── UnavailableError   the knowledge base cannot be read
"""

from __future__ import annotations

from realm.errors import RealmError


class ServingError(RealmError):
    """Raised only through its subclasses.

    Attributes:
        code: The same in one word, for programs.
        retry_after_seconds: When to ask again; 0 where that would not help.
    """

    code = "serving"
    retry_after_seconds = 0


class OverloadedError(ServingError):
    """Raised when the queue is full.

    Args:
        waiting: How many wait.
        retry_after_seconds: When there will be room.
    """

    code = "overloaded"

    def __init__(self, waiting: int, retry_after_seconds: int) -> None:
        super().__init__(f"{waiting:,} are waiting already. Ask again in {retry_after_seconds} s.")
        self.retry_after_seconds = retry_after_seconds


class TimedOutError(ServingError):
    """Raised when there is no answer in time."""

    code = "timeout"
    retry_after_seconds = 1


class LeftError(ServingError):
    """Raised when whoever asked has gone: for the log alone."""

    code = "client_left"


class StoppingError(ServingError):
    """Raised when something is asked of a service that has been closed."""

    code = "stopping"
    retry_after_seconds = 1


class NotFoundError(ServingError):
    """Raised when there is no such document."""

    code = "not_found"


class ReadOnlyError(ServingError):
    """Raised when documents are to be changed, and the service may not."""

    code = "read_only"


class UnavailableError(ServingError):
    """Raised when the knowledge base cannot be read or written; the log has the reason."""

    code = "unavailable"
    retry_after_seconds = 5
