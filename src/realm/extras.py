"""Optional parts: imported at the moment of use, and the install line when they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from realm.errors import MissingExtraError


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, which belongs to the extra `extra`.

    Raises:
        MissingExtraError: It is not installed; the message is the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        missing = exc.name or module
        raise MissingExtraError(
            f"{missing} is not installed, and this needs it. Install it with: pip install 'realm-lm[{extra}]'"
        ) from exc
