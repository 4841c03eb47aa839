"""`realm serve` and `realm mcp` refuse what they cannot do, in one line, before they listen."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from command_line import Run
from test_bad_input import assert_one_line


def test_an_address_that_others_can_reach_needs_a_key(realm: Run, kb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REALM_API_KEY", raising=False)
    assert_one_line(realm("serve", "--kb", kb, "--host", "0.0.0.0"), "0.0.0.0", "--api-key-file")
    monkeypatch.setenv("REALM_API_KEY", "short")
    assert_one_line(realm("serve", "--kb", kb, "--host", "0.0.0.0"), "at least 16")
    assert_one_line(realm("serve", "--kb", kb, "--api-key-file", kb / "none"), "--api-key-file", "none")


def test_what_cannot_be_served_is_told_in_one_line(realm: Run, kb: Path, tmp_path: Path) -> None:
    assert_one_line(realm("serve", "--kb", tmp_path / "none"), "No knowledge base", "realm index")
    for origin in ("*", "http://[", "https://"):
        assert_one_line(realm("serve", "--kb", kb, "--allow-origin", origin), "--allow-origin", "https://")
    assert_one_line(realm("serve", "--kb", kb, "--host", "no.such.host.invalid", "--port", "0"), "--api-key-file")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_one_line(realm("serve", "--kb", kb, "--port", port), f"port {port}", "--port")


@pytest.mark.parametrize("module", ["fastapi", "uvicorn", "prometheus_client", "fastapi_offline"])
def test_a_part_that_is_not_installed_is_asked_for(
    realm: Run, kb: Path, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert_one_line(realm("serve", "--kb", kb), module, "pip install 'realm-lm[serve]'")


def test_tools_that_cannot_be_offered_are_told_in_one_line(
    realm: Run, kb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REALM_API_KEY", raising=False)
    for where in ([], ["--http"]):
        assert_one_line(realm("mcp", *where, "--kb", tmp_path / "none"), "No knowledge base", "realm index")
    assert_one_line(realm("mcp", "--http", "--kb", kb, "--host", "0.0.0.0"), "0.0.0.0", "--api-key-file")
    assert_one_line(realm("mcp", "--http", "--kb", kb, "--allow-origin", "https://"), "--allow-origin", "https://")
    monkeypatch.setitem(sys.modules, "mcp", None)
    assert_one_line(realm("mcp", "--kb", kb), "mcp", "pip install 'realm-lm[serve]'")
