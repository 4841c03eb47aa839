"""How much a server takes on: every bound of the service and of its HTTP side, with the reason for each.

Knows nothing but numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_QUESTIONS = 32
"""Most questions in one request: they are answered together, and others wait meanwhile."""
MAX_QUESTION_CHARACTERS = 2000
"""The model reads 128 word pieces; what is longer than this is certain to be refused."""
MAX_TOP_READ = 20
"""Most passages read for a question: each costs as much as a dozen questions' embedding."""
MAX_TOP_FOUND = 200
"""Most passages given for a question that is only searched for."""
MAX_FILTER_CHARACTERS = 2000
MAX_ID_CHARACTERS = 1024
MAX_DOCUMENTS = 1000
"""Most documents in one request, and on one page of the list."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What may differ from server to server.

    Attributes:
        max_queue: Most questions that wait to be answered; beyond it requests are refused at once.
        max_batch: About how many questions are answered together.
        window_seconds: How long after a batch the next one waits for as many questions. Short beside the time that
            answering takes; never waited for where nobody else is asking.
        timeout_seconds: Most time from a question's arrival to its answer.
        max_lookups: Most requests for documents that wait.
        max_writes: Most requests to change documents that wait.
        poll_seconds: How often to look for a newer version of the knowledge base.
        retry_seconds: How long to wait before trying again to open a version that could not be opened.
        max_body_bytes: Longest body of a request.
        max_document_bytes: Longest body of a request that brings documents.
        body_seconds: Most time for a body to arrive.
        send_seconds: Most time for a client to take what it asked for.
        header_seconds: Most time for the head of a request to arrive.
        max_connections: Most connections at a time.
        drain_seconds: How long a server that has been told to stop still takes new connections: so long may somebody
            still take it to be there.
    """

    max_queue: int = 256
    max_batch: int = 32
    window_seconds: float = 0.005
    timeout_seconds: float = 30.0
    max_lookups: int = 64
    max_writes: int = 8
    poll_seconds: float = 1.0
    retry_seconds: float = 30.0
    max_body_bytes: int = 1 << 20
    max_document_bytes: int = 8 << 20
    body_seconds: float = 20.0
    send_seconds: float = 30.0
    header_seconds: float = 10.0
    max_connections: int = 512
    drain_seconds: float = 0.5
