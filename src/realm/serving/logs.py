"""What a server says on standard error: one JSON object a line. Questions and documents are not in it.

Knows no HTTP.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

_LOGGER = logging.getLogger("realm.serving")


def say(event: str, *, level: int = logging.INFO, error: BaseException | None = None, **fields: Any) -> None:
    """Log an event.

    Args:
        event: What happened, in a word or two.
        level: How bad it is.
        error: What was raised, if the place where is of interest.
        fields: What else there is to say; JSON.
    """
    _LOGGER.log(level, event, exc_info=error, extra={"fields": fields})


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        values = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.name != _LOGGER.name:
            values["logger"] = record.name
        if record.exc_info:
            values["traceback"] = self.formatException(record.exc_info)
        return json.dumps(values, default=str)


def log_to_stderr() -> None:
    """Send what the server and its libraries say to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    # What uvicorn warns of is what clients send, which has its own line here.
    for name, level in ((_LOGGER.name, logging.INFO), ("uvicorn", logging.ERROR), ("mcp", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
    # A library that finds no handler here would put up one of its own.
    logging.getLogger().addHandler(handler)
    # It would say a second time, and not as JSON, what the request's own line says.
    logging.getLogger("uvicorn.access").disabled = True
