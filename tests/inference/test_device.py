import pytest
import torch

from maskrcnn.inference.device import autocast, best_device, has_fast_bfloat16

CPU = torch.device("cpu")


@pytest.mark.parametrize(("precision", "expected"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_products_run_in_the_precision_asked_for(precision, expected):
    with autocast(CPU, precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


def test_auto_takes_bfloat16_only_where_it_is_fast(monkeypatch):
    for fast, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr("maskrcnn.inference.device.has_fast_bfloat16", lambda device, fast=fast: fast)
        with autocast(CPU, "auto"):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


def test_a_machine_without_the_instructions_has_no_fast_bfloat16(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert not has_fast_bfloat16(CPU)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert has_fast_bfloat16(CPU)


def test_a_gpu_is_used_where_there_is_one(monkeypatch):
    for available, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert best_device().type == expected


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="choose one of auto, float32, bfloat16"):
        autocast(CPU, "int8")
