"""Requests made up from the OpenAPI schema, and odd headers: none makes the server fail, and every response is as the
schema says.
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from asking import KEY, app_of, send
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from waiting import QUICK

from realm.serving.service import Service

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["meant_well", "meant_badly"])
def test_whatever_the_schema_allows_or_forbids_is_answered_as_it_says(kb: Path, mode: GenerationMode) -> None:
    with Service(kb, limits=QUICK, is_writable=True) as service:
        schema = schemathesis.openapi.from_asgi("/openapi.json", app_of(service), headers={"host": "localhost"})
        schema.config.base_url = "http://localhost"
        asked: Counter[str] = Counter()
        for operation in (result.ok() for result in schema.get_all_operations()):

            @settings(max_examples=15, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                case.call_and_validate(checks=CHECKS, headers={"host": "localhost"})
                asked[case.operation.label] += 1

            with suppress(Unsatisfiable):  # nothing about it can be meant badly
                ask()
            takes_something = {"parameters", "requestBody"} & operation.definition.raw.keys()
            assert asked[operation.label] >= (10 if takes_something else mode is GenerationMode.POSITIVE)


PIECES = [b"https://", b"http://[", b"[::1", b"]", b":8000", b"@", b"a.example", b"%", b"?", b" ", b"\xfc"]
ODD = st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map(b"".join) | st.binary(max_size=20)


@pytest.fixture(scope="module")
def apps(shared: Service) -> list[FastAPI]:
    """One that a page elsewhere may use, and one that needs a key."""
    return [app_of(shared, allow_origins=("https://a.example",)), app_of(shared, host="0.0.0.0", api_key=KEY)]


@settings(max_examples=100)
@given(
    headers=st.fixed_dictionaries(
        {"content-type": st.just(b"application/json")},
        optional=dict.fromkeys(("origin", "host", "x-request-id", "authorization", "accept"), ODD),
    )
)
def test_no_header_makes_the_server_fail(apps: list[FastAPI], headers: dict[str, bytes]) -> None:
    for app in apps:
        response = send(app, "POST", "/v1/ask", content=b"[]", headers=headers)
        assert response.status_code in (401, 403, 422), (headers, response.text)
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", response.headers["x-request-id"])
