"""One line per tensor that a stage yields: name, shape, dtype and range. The first thing to do with any output."""

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor

T = TypeVar("T")


def described(cls: type[T]) -> type[T]:
    """Class decorator for the NamedTuples that stages return: print their `description`, not thousands of numbers."""
    cls.__repr__ = description  # type: ignore[method-assign]
    return cls


def describe(output: Any) -> None:
    """Print the `description` of anything that a stage yields."""
    print(description(output))


def description(output: Any) -> str:
    """Text that names every field of a stage's output, with shape, dtype and range of each tensor in it. What a model does
    not have, a field that is None, is left out.

    output: a tensor, a named tuple of a stage, or a list, tuple or mapping of such.
    """
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        fields = zip(output._fields, output, strict=True)
        lines = [_line(name, value) for name, value in fields if value is not None]
        return f"{type(output).__name__}(\n" + "".join(f"  {line}\n" for line in lines) + ")"
    return _value(output)


def _line(name: str, value: Any) -> str:
    return f"{name}: {_value(value)}".replace("\n", "\n  ")


def _value(value: Any) -> str:
    if isinstance(value, Tensor):
        return _tensor(value)
    if isinstance(value, Mapping):
        return "{\n" + "".join(f"  {_line(str(k), v)}\n" for k, v in value.items()) + "}"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return repr(value)
    if isinstance(value, list | tuple) and any(isinstance(v, Tensor | Mapping) for v in value):
        return "[\n" + "".join(f"  {_line(str(i), v)}\n" for i, v in enumerate(value)) + "]"
    return repr(value)


def _tensor(tensor: Tensor) -> str:
    shape, dtype = list(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    if tensor.dim() == 0:
        return f"{dtype} {tensor.item():.4g}"
    if tensor.numel() == 0:
        return f"{dtype} {shape}"
    return f"{dtype} {shape}, {tensor.min().item():.4g} to {tensor.max().item():.4g}"
