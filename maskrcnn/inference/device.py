"""Which device to run on, and at which precision: bfloat16 where the hardware multiplies it faster than float32."""

from typing import Any

import torch

PRECISIONS = ("auto", "float32", "bfloat16")


def best_device() -> torch.device:
    """A GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the hardware itself multiplies matrices in bfloat16, without emulation."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # A private API of PyTorch: where it is missing, "auto" falls back to float32.
    supported = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    return any(check() for check in supported if check)


def autocast(device: torch.device, precision: str = "auto") -> Any:
    """A context in which convolutions and matrix products run at `precision`, one of PRECISIONS; else ValueError.

    Weights, boxes, NMS and losses stay in float32 (each head returns float32). "auto" is bfloat16 where it is fast.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is not known; choose one of {', '.join(PRECISIONS)}")
    use_bfloat16 = precision == "bfloat16" or (precision == "auto" and has_fast_bfloat16(device))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=use_bfloat16)
