"""bfloat16 is chosen only where the device multiplies it in hardware."""

from __future__ import annotations

import pytest
import torch

from realm.models.precision import fastest_dtype


@pytest.mark.parametrize(
    ("avx", "amx", "wanted"),
    [
        (False, False, torch.float32),
        (True, False, torch.bfloat16),
        (False, True, torch.bfloat16),
        (True, True, torch.bfloat16),
    ],
)
def test_a_processor_computes_in_bfloat16_only_with_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, avx: bool, amx: bool, wanted: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert fastest_dtype(torch.device("cpu")) == wanted


@pytest.mark.parametrize(("in_hardware", "wanted"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_graphics_card_that_only_emulates_bfloat16_computes_in_float32(
    monkeypatch: pytest.MonkeyPatch, in_hardware: bool, wanted: torch.dtype
) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return including_emulation or in_hardware

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert fastest_dtype(torch.device("cuda")) == wanted


def test_other_devices_compute_in_float32() -> None:
    assert fastest_dtype(torch.device("meta")) == torch.float32
