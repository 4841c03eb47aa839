"""Requests made up from the OpenAPI schema: none makes the server fail, and every response is as the schema says."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from asking import app_of
from hypothesis import HealthCheck, Phase, given, settings
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
        asked = 0
        for operation in (result.ok() for result in schema.get_all_operations()):

            @settings(max_examples=15, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                nonlocal asked
                case.call_and_validate(checks=CHECKS, headers={"host": "localhost"})
                asked += 1

            with suppress(Unsatisfiable):  # nothing about it can be meant badly
                ask()
    assert asked > 50
