"""Arrays in pickle files, read without running code.

A pickle is a small program that may name a function of any module and call it, which is why Python's documentation says to
unpickle trusted files only. Here the few names that numpy's arrays need stand for functions of this file, which check what
they are given; every other name is refused, and so nothing that the file names is ever imported. The lengths that a file
declares are compared with the bytes that it has before anything is made of them: memory stays within a few times its size.
"""

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ELEMENT_TYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1")
MAX_DIMENSIONS = 16
# They call what was registered or handed over outside of the file, past `find_class`.
FOREIGN_OPCODES = ("EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER")
MEMO_OPCODES = ("PUT", "BINPUT", "LONG_BINPUT")
REMEDY = "only numbers and names belong in it; write weights of PyTorch with torch.save, as .pth"


class RefusedError(Exception):
    """The file names what it does not need for arrays. The message says what."""


def read_pickled_arrays(path: Path) -> dict[str, Any]:
    """The dict in a pickle of any protocol, of Python 2 or 3. Its arrays, and those of its entry "model", become tensors.

    Raises ValueError, naming the file, if it cannot be read, is no dict of names, or needs anything but numpy's arrays and
    plain containers.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give the path of a .pkl file of weights")
    content = path.read_bytes()
    try:
        check_opcodes(content)
        loaded = ArrayUnpickler(content).load()
    except RefusedError as error:
        raise ValueError(f"{path}: refused, nothing was run: {error}; {REMEDY}") from error
    except Exception as error:  # the bytes of a damaged file can make the unpickler raise anything
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path}: not a readable pickle; was it cut off while copying? ({reason[:200]})") from error
    if not isinstance(loaded, dict):
        raise ValueError(f"{path}: holds a {type(loaded).__name__}, not a dict of weights")
    entries = _with_tensors(path, loaded)
    if isinstance(entries.get("model"), dict):
        entries["model"] = _with_tensors(path, entries["model"])
    return entries


def _with_tensors(path: Path, entries: dict[Any, Any]) -> dict[str, Any]:
    if not all(isinstance(name, str) for name in entries):
        raise ValueError(f"{path}: not a dict of weights, which have names")
    return {name: value.tensor if isinstance(value, PickledArray) else value for name, value in entries.items()}


def check_opcodes(content: bytes) -> None:
    """Read the pickle through without executing it. Raises ValueError if it ends before its STOP or before the end of a
    string, or if it writes to a place of the memo so far away that only an attack would; RefusedError for foreign opcodes.
    """
    for number, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(content))):
        if opcode.name in FOREIGN_OPCODES:
            raise RefusedError(f"it has the opcode {opcode.name}")
        if opcode.name in MEMO_OPCODES and int(argument or 0) > number + 1:  # the memo is as long as its last place
            raise ValueError(f"place {argument} of the memo after {number} steps")


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles plain containers and `PickledArray`s. content: of a file that `check_opcodes` has accepted."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")  # of Python 2's strings, as numpy wants them
        # A file may use its bytes once as text and once as an array, but not a thousand times.
        self.left = 2 * len(content)
        self.stand_ins: dict[str, Any] = {
            "numpy.ndarray": None,
            "numpy.dtype": ElementType,
            "collections.OrderedDict": Names,
            "_codecs.encode": _function_of_its_own(self.encode),
            "__builtin__.bytes": lambda: b"",  # of an array without values
        }
        for package in ("numpy.core", "numpy._core"):  # before numpy 2 and since
            self.stand_ins[f"{package}.multiarray._reconstruct"] = _function_of_its_own(self.reconstruct)
            self.stand_ins[f"{package}.multiarray.scalar"] = _function_of_its_own(self.scalar)
            self.stand_ins[f"{package}.numeric._frombuffer"] = _function_of_its_own(self.from_buffer)  # of protocol 5

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in self.stand_ins:
            raise RefusedError(f"it names {module}.{name}")
        return self.stand_ins[f"{module}.{name}"]

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise ValueError("its arrays need more bytes than it has")

    def encode(self, text: str, encoding: str) -> bytes:
        """How protocols before 3 write bytes."""
        if not isinstance(text, str) or encoding != "latin1":
            raise ValueError("it encodes what is not latin1")
        self.spend(len(text))
        return text.encode("latin1")

    def reconstruct(self, *_unused: Any) -> "PickledArray":
        """An array whose shape and values follow; the shape given here is always (0,)."""
        return PickledArray(self)

    def scalar(self, element_type: "ElementType", data: Any) -> "PickledArray":
        return self.from_buffer(data, element_type, (), "C")

    def from_buffer(self, data: Any, element_type: "ElementType", shape: Any, order: str) -> "PickledArray":
        array = PickledArray(self)
        array.__setstate__((1, shape, element_type, order == "F", data))
        return array


def _function_of_its_own(call: Callable[..., Any]) -> Callable[..., Any]:
    """A pickle can set attributes of whatever it is given, so what it is given is made for it alone."""
    return lambda *arguments: call(*arguments)


class Names(dict[Any, Any]):
    """The stand-in of OrderedDict, without the attributes that a file gives it (PyTorch's versions of modules)."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


class ElementType:
    """The stand-in of numpy.dtype: a number's kind and size in bytes, such as "f4", and then its byte order."""

    __slots__ = ("numpy",)

    def __init__(self, code: Any, *_unused: Any) -> None:
        if code not in ELEMENT_TYPES:
            raise ValueError(f"arrays of {str(code)[:20]!r} are no weights")
        self.numpy = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order not in ("<", ">", "=", "|"):
            raise ValueError("an unknown byte order")
        self.numpy = self.numpy.newbyteorder(order)


class PickledArray:
    """The stand-in of numpy.ndarray; `tensor` once the file has given its shape, type and values."""

    __slots__ = ("_unpickler", "tensor")

    def __init__(self, unpickler: ArrayUnpickler) -> None:
        self._unpickler = unpickler
        self.tensor = torch.empty(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, element_type, is_fortran, data = state
        if not isinstance(element_type, ElementType) or not isinstance(data, str | bytes | bytearray):
            raise ValueError("an array of objects")
        if not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS or not all(_is_length(n) for n in shape):
            raise ValueError("an array without a shape")
        if math.prod(shape) * element_type.numpy.itemsize != len(data):
            raise ValueError(f"an array whose shape needs another number of bytes than its {len(data)}")
        self._unpickler.spend(len(data))
        content = data.encode("latin1") if isinstance(data, str) else data  # bytes are strings in Python 2
        array: np.ndarray[Any, Any] = np.ndarray(shape, element_type.numpy, content, order="F" if is_fortran else "C")
        self.tensor = _native(array)


def _is_length(n: Any) -> bool:
    return type(n) is int and 0 <= n < 2**40


def _native(array: "np.ndarray[Any, Any]") -> Tensor:
    """A copy in C order and in the byte order of this machine, which is what PyTorch reads."""
    return torch.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))
