"""A pickle from anywhere is data: reading it runs no code, and takes no more memory than its size explains."""

import contextlib
import io
import os
import pickle
import resource
import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from maskrcnn.weights import pickled_arrays
from maskrcnn.weights.pickled_arrays import read_pickled_arrays

ARRAYS = {
    "matrix": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "by columns": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
    "big-endian": np.arange(4, dtype=">f4"),
    "not contiguous": np.arange(12, dtype=np.int64).reshape(3, 4)[:, ::2],
    "half": np.arange(3, dtype=np.float16),
    "bytes": np.arange(250, 256, dtype=np.uint8),
    "flags": np.array([True, False]),
    "no dimension": np.array(3, dtype=np.int32),
    "scalar": np.float32(2.5),
    "empty": np.zeros((0, 3), np.float32),
}


@pytest.fixture
def written(tmp_path):
    """(content) -> the path of a file with it."""

    def write(content):
        path = tmp_path / "model_final_f10217.pkl"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_kind_are_read_from_every_protocol(written, protocol):
    model = OrderedDict(ARRAYS)
    model._metadata = {"": {"version": 1}}  # as PyTorch's state dicts have
    path = written(pickle.dumps({"model": model, "__author__": "Someone", "matching_heuristics": True}, protocol))
    content = read_pickled_arrays(path)
    assert content["__author__"] == "Someone"
    assert content["matching_heuristics"] is True
    assert content["model"].keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        tensor = content["model"][name]
        assert tensor.numpy().dtype == array.dtype.newbyteorder("="), name
        np.testing.assert_array_equal(tensor.numpy(), array)


def test_a_plain_dict_of_arrays_is_read(written):
    content = read_pickled_arrays(written(pickle.dumps({"a": ARRAYS["matrix"]})))
    assert content["a"].equal(torch.from_numpy(ARRAYS["matrix"]))


def test_arrays_of_numpy_1_are_read(written):
    """Before version 2 the package was numpy.core."""
    content = pickle.dumps(ARRAYS, protocol=2)
    assert content.count(b"numpy._core.") >= 1
    read = read_pickled_arrays(written(content.replace(b"numpy._core.", b"numpy.core.")))
    np.testing.assert_array_equal(read["matrix"].numpy(), ARRAYS["matrix"])


def test_arrays_of_python_2_whose_bytes_are_strings_are_read(written):
    values = np.array([1.5, -2.0], "<f4").tobytes()
    content = (  # {'w': array} as Python 2 wrote it in protocol 2: SHORT_BINSTRING where Python 3 has bytes
        b"\x80\x02}U\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U" + struct.pack("B", len(values)) + values + b"tbs."
    )
    np.testing.assert_array_equal(pickle.loads(content, encoding="latin1")["w"], [1.5, -2.0])
    assert read_pickled_arrays(written(content))["w"].tolist() == [1.5, -2.0]


class Calls:
    """Unpickled as usual, this calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def running(marker):
    """Name -> a pickle that creates the file `marker` if it is unpickled as usual."""
    python = f"open({str(marker)!r}, 'w')"
    shell = f"touch {marker}"
    system = f"cposix\nsystem\n(V{shell}\ntR".encode()
    array = pickle.dumps(np.zeros(2, np.float32), protocol=2)[2:-1]
    return {
        "os.system": pickle.dumps({"model": Calls(os.system, shell)}),
        "builtins.eval": pickle.dumps({"model": Calls(eval, python)}),
        "builtins.exec of Python 2": f"c__builtin__\nexec\n(V{python}\ntR.".encode(),
        "getattr": b"cbuiltins\ngetattr\n(cposix\nsystem\nV__call__\ntR(V" + shell.encode() + b"\ntR.",
        "nested": pickle.dumps({"model": {"a": [({"b": Calls(Path.touch, marker)},)]}}),
        "in the arguments of an allowed function": b"c_codecs\nencode\n(" + system + b"Vlatin1\ntR.",
        "in the state of an array": array + b"(" + system + b"tb.",
        "after an array": b"\x80\x02}(Va\n" + array + b"Vb\n" + system + b"u.",
        "an instance of protocol 0": f"(V{shell}\niposix\nsystem\n.".encode(),
        "an object of protocol 1": f"(cposix\nsystem\nV{shell}\no.".encode(),
        "set as a method": f"ccollections\nOrderedDict\n)R}}V__setstate__\ncposix\nsystem\nsbV{shell}\nb.".encode(),
    }


NAMING = {  # these call nothing, but name what could be called
    "numpy.load": b"cnumpy\nload\n.",
    "a name with dots": b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.dump\x93.",
    "a new object": b"\x80\x02cpathlib\nPath\nVx\n\x85\x81.",
    "torch's loader": pickle.dumps({"a": torch.zeros(2)}),
    "an extension's number": b"\x80\x02\x82\x01.",
    "a persistent id": b"Pposix.system\n.",
}


@pytest.mark.parametrize("name", [*running(""), *NAMING])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, written, name):
    marker = tmp_path / "touched"
    content = {**running(marker), **NAMING}[name]
    with pytest.raises(ValueError, match=r"model_final_f10217\.pkl: refused, nothing was run: it (names|has) [\w.]+"):
        read_pickled_arrays(written(content))
    assert not marker.exists()
    if name not in NAMING:
        with contextlib.suppress(Exception):
            pickle.loads(content)
        assert marker.exists()  # it would have run


def test_a_refusal_names_what_was_refused_and_the_remedy(written):
    with pytest.raises(ValueError, match=r"it names torch\._utils\._rebuild_tensor_v2; .*torch\.save, as \.pth"):
        read_pickled_arrays(written(pickle.dumps({"a": torch.zeros(2)})))


def test_a_pickle_cannot_change_what_the_next_one_is_read_with(written):
    """BUILD sets attributes of whatever is on the stack: of a function, its defaults too."""
    for name in ("numpy.core.multiarray _reconstruct", "numpy dtype", "collections OrderedDict", "_codecs encode"):
        for state in (b"}Vpoisoned\nK\x01s", b"N}Vleft\nK\x01s\x86", b"N}V__defaults__\nK\x01\x85s\x86"):
            with contextlib.suppress(ValueError):
                read_pickled_arrays(
                    written(f"\x80\x02}}Va\nc{name}\n".replace(" ", "\n").encode("latin1") + state + b"bs.")
                )
    path = written(pickle.dumps(ARRAYS, protocol=2))
    np.testing.assert_array_equal(read_pickled_arrays(path)["matrix"].numpy(), ARRAYS["matrix"])
    reader = pickled_arrays.ArrayUnpickler
    for thing in (reader, reader.encode, reader.reconstruct, pickled_arrays.Names, pickled_arrays.ElementType):
        assert not hasattr(thing, "poisoned")


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_file_that_was_cut_off_anywhere_is_refused(written, protocol):
    content = pickle.dumps({"model": ARRAYS, "__author__": "Someone"}, protocol)
    for length in np.linspace(0, len(content) - 1, 50).astype(int):
        with pytest.raises(ValueError, match=r"model_final_f10217\.pkl: not a readable pickle"):
            read_pickled_arrays(written(content[:length]))


def test_a_file_of_random_bytes_or_with_a_damaged_byte_raises_nothing_but_a_value_error(written):
    generator = np.random.default_rng(0)
    intact = bytearray(pickle.dumps(ARRAYS, 2))
    messages = []
    for i in range(300):
        content = bytearray(generator.bytes(200)) if i % 3 == 0 else bytearray(intact)
        content[generator.integers(len(content))] = generator.integers(256)
        try:
            read_pickled_arrays(written(bytes(content)))
        except ValueError as error:  # where a number was hit, the file is still whole
            messages.append(str(error))
    assert len(messages) > 120
    assert all("model_final_f10217.pkl: " in message for message in messages)


def array_of(shape, values, code=b"f4"):
    """A pickle of an array by the reduction of protocol 2, with a shape and values that need not agree."""
    buffer = io.BytesIO()
    pickle.Pickler(buffer, 3).dump(shape)
    state = b"(K\x01" + buffer.getvalue()[2:-1] + b"cnumpy\ndtype\nV" + code + b"\n\x85R\x89C"
    state += struct.pack("B", len(values)) + values + b"tb"
    return b"\x80\x03}Va\ncnumpy.core.multiarray\n_reconstruct\n)R" + state + b"s."


def huge_pickles():
    """Name -> a small file that asks for gigabytes."""
    text = b"V" + b"x" * 100_000 + b"\n"
    copies = b"(" + (b"h\x01h\x00Vlatin1\n\x86R") * 20_000 + b"l."
    return {
        "shape": array_of((10**5, 10**6), b"1234"),
        "shape of no values": array_of((10**5, 10**6), b""),
        "shape of no values in another dimension": array_of((0, 2**62), b""),
        "string": b"\x80\x04\x8d" + struct.pack("<Q", 10**11) + b"x.",
        "bytes": b"\x80\x04\x8e" + struct.pack("<Q", 10**11) + b"x.",
        "bytes that can be changed": b"\x80\x05\x96" + struct.pack("<Q", 10**11) + b"x.",
        "number": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
        "frame": b"\x80\x04\x95" + struct.pack("<Q", 10**11) + b"}.",
        "place of the memo": b"\x80\x02}r" + struct.pack("<I", 2**27) + b".",
        "copies of a text": b"\x80\x02" + text + b"q\x000c_codecs\nencode\nq\x010" + copies,
    }


@pytest.mark.parametrize("name", huge_pickles())
def test_a_small_file_cannot_ask_for_much_memory(written, name):
    path = written(huge_pickles()[name])
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"model_final_f10217\.pkl: not a readable pickle|another number|shape"):
        read_pickled_arrays(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 500_000  # KB


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"a": np.array([None, 1])}), "arrays of 'O8' are no weights"),
        (pickle.dumps({"a": np.array(["text"])}), "arrays of 'U4' are no weights"),
        (pickle.dumps({"a": np.zeros(2, [("x", "f4")])}), "are no weights"),
        (array_of((2,), b"12345678")[:-1] + b"b.", "not a readable pickle"),
        (array_of((3,), b"12345678"), "another number of bytes than its 8"),
        (array_of((-2, -1), b"12345678"), "an array without a shape"),
        (pickle.dumps([1, 2]), "holds a list, not a dict of weights"),
        (pickle.dumps({1: 2}), "not a dict of weights, which have names"),
        (pickle.dumps({"model": {1: 2}}), "not a dict of weights, which have names"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_dict_of_arrays_is_refused(written, content, message):
    with pytest.raises(ValueError, match=rf"model_final_f10217\.pkl: .*{message}"):
        read_pickled_arrays(written(content))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.pkl: no such file"):
        read_pickled_arrays(tmp_path / "gone.pkl")
