"""Who may use a server, and from where: what `realm serve` is started with.

Knows no HTTP library.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from realm.errors import UsageError

LOOPBACK = "127.0.0.1"
_MIN_KEY_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to listen, and to whom.

    Attributes:
        host: Address to listen at.
        port: Port to listen at; 0 takes a free one.
        api_key: What everybody must send; None only at a loopback address.
        allow_origins: Origins of web pages, other than the server's own, that may use it.

    Raises:
        UsageError: There is no key for an address that others can reach; the key is short or not ASCII; an origin is
            none.
    """

    host: str = LOOPBACK
    port: int = 8000
    api_key: str | None = None
    allow_origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        key = self.api_key
        if key is None and not self.is_loopback:
            raise UsageError(
                f"At {self.host} others can reach the server, so it needs a key that they must send. Give one with "
                f"--api-key-file or in REALM_API_KEY, or listen at {LOOPBACK}."
            )
        if key is not None and (len(key) < _MIN_KEY_CHARACTERS or not key.isascii() or not key.isprintable()):
            raise UsageError(
                f"The API key must be at least {_MIN_KEY_CHARACTERS} visible ASCII characters in one line. Make one "
                "with: openssl rand -hex 32"
            )
        for origin in self.allow_origins:
            if not _is_origin(origin):
                raise UsageError(f"--allow-origin takes an origin such as https://example.org; found {origin!r}.")

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on the same machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def _is_origin(text: str) -> bool:
    """Whether it is a scheme, a host and perhaps a port, and nothing else."""
    try:
        parts = urlsplit(text)
        rest = parts.netloc.removesuffix("" if parts.port is None else f":{parts.port}")
    except ValueError:
        return False
    is_host = bool(parts.hostname) and rest.strip("[]") == parts.hostname
    return is_host and parts.scheme in ("http", "https") and text == f"{parts.scheme}://{parts.netloc}"


def read_api_key(file: Path | None, environment: str | None) -> str | None:
    """The key from a file, or else from the environment; None if neither is given.

    Raises:
        UsageError: The file cannot be read.
    """
    if file is None:
        return environment or None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"--api-key-file {file} cannot be read ({exc}). Give a text file with the key.") from exc
