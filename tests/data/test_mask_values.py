"""From files to numbers. What is expected is written by hand, or the array that was saved."""

import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from data.mask_values import read_mask_values
from data.records import RecordError

NUMBERS = np.arange(60).reshape(6, 10) % 7


def read(path: Path, picture, **options):
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path, **options)
    return read_mask_values(path)


@pytest.mark.parametrize(
    ("ending", "kind", "factor", "source"),
    [
        ("png", np.uint8, 1, "greys"),
        ("bmp", np.uint8, 30, "greys"),
        ("png", np.uint16, 9000, "integers"),
        ("tif", np.int32, 100_000, "integers"),
        ("tif", np.float32, 1, "integers"),
    ],
)
def test_numbers_come_back_as_they_were_saved(tmp_path, ending, kind, factor, source):
    values = read(tmp_path / f"mask.{ending}", (NUMBERS * factor).astype(kind))
    assert values.source == source
    assert values.values.dtype == np.int64
    assert np.array_equal(values.values, NUMBERS * factor)


@given(arrays(np.uint8, (4, 5, 3)))
def test_colours_are_numbers_that_tell_them_apart(tmp_path_factory, colours):
    colours[0, 0], colours[0, 1] = (255, 0, 0), (0, 0, 9)  # so that it is no grey picture
    found = read(tmp_path_factory.mktemp("colours") / "mask.png", colours)
    assert found.source == "colours"
    for y in range(4):
        for x in range(5):
            red, green, blue = (int(v) for v in colours[y, x])
            assert found.values[y, x] == red + 256 * green + 65536 * blue


def test_colours_that_are_all_grey_are_greys_also_with_the_tint_of_a_lossy_format(tmp_path):
    grey = (NUMBERS * 40).astype(np.uint8)
    found = read(tmp_path / "mask.png", np.repeat(grey[..., None], 3, axis=2))
    assert (found.source, found.values.tolist()) == ("greys", grey.tolist())
    tinted = np.stack([grey, np.where(grey > 0, grey - 3, 0), grey], axis=-1).astype(np.uint8)
    assert np.array_equal(read(tmp_path / "tinted.png", tinted).values, grey)
    assert read(
        tmp_path / "numbers.png", np.stack([NUMBERS, NUMBERS * 0, NUMBERS * 0], -1).astype(np.uint8)
    ).source == ("colours")


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB"])
def test_white_on_black_is_two_numbers_in_any_mode(tmp_path, mode):
    picture = Image.fromarray(((NUMBERS > 3) * 255).astype(np.uint8)).convert("RGB").convert(mode)
    found = read(tmp_path / "mask.tif", picture)
    assert np.array_equal(found.values > 100, NUMBERS > 3)
    assert len(np.unique(found.values)) == 2


@given(st.permutations(range(7)))
def test_the_colours_of_a_palette_do_not_matter_while_0_is_black_or_nothing_is(tmp_path_factory, order):
    picture = Image.fromarray(NUMBERS.astype(np.uint8))
    picture.putpalette([0, 0, 0, *(v for k in order for v in (20 * k + 10, 5, 200 - k))] + [0] * (768 - 24))
    found = read(tmp_path_factory.mktemp("palette") / "mask.png", picture)
    assert (found.source, found.values.tolist()) == ("indices", NUMBERS.tolist())


def test_a_palette_in_which_another_index_is_black_is_read_by_its_colours(tmp_path):
    """Programs that count colours give index 0 to whichever comes first."""
    picture = Image.fromarray((NUMBERS > 3).astype(np.uint8))
    picture.putpalette([255, 255, 255, 0, 0, 0] + [9] * 762)
    assert np.array_equal(read(tmp_path / "mask.png", picture).values, np.where(NUMBERS > 3, 0, 255))


@pytest.mark.parametrize("name", ["mask.gif", "mask.png"])
def test_the_palette_of_a_grey_picture_gives_its_greys_and_keeps_the_indices(tmp_path, name):
    picture = Image.fromarray(np.minimum(NUMBERS, 2).astype(np.uint8))
    picture.putpalette([0, 0, 0, 225, 225, 225, 255, 255, 255, *[7, 8, 9] * 253])  # what is not used does not matter
    found = read(tmp_path / name, picture)
    assert (found.source, found.values.tolist()) == ("greys", np.array([0, 225, 255])[np.minimum(NUMBERS, 2)].tolist())
    assert np.array_equal(found.indices, np.minimum(NUMBERS, 2))


@pytest.mark.parametrize(
    "colours",
    [
        [(0, 0, 0), (225, 225, 225), (225, 225, 225)],  # greys would lose a number
        [(9, 9, 9), (225, 225, 225), (255, 255, 255)],  # no background among the greys
        [(0, 0, 0), (225, 225, 225), (255, 0, 0)],
    ],
)
def test_a_palette_that_is_not_of_a_grey_picture_gives_its_indices(tmp_path, colours):
    picture = Image.fromarray(np.minimum(NUMBERS, 2).astype(np.uint8))
    picture.putpalette([v for colour in colours for v in colour])
    found = read(tmp_path / "mask.png", picture)
    assert (found.source, found.values.tolist()) == ("indices", np.minimum(NUMBERS, 2).tolist())


def save_deep_colours(path: Path, pixels: np.ndarray) -> None:
    """A PNG of 16 bits per channel, RGB or RGBA, which Pillow cannot write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("numbers", [NUMBERS, NUMBERS + 255, NUMBERS * 9000])
def test_colours_of_16_bits_are_refused_instead_of_losing_half_of_them(tmp_path, channels, numbers):
    pixels = np.repeat(numbers[..., None], channels, axis=2)
    pixels[..., 3:] = 65535
    save_deep_colours(tmp_path / "mask.png", pixels)
    with pytest.raises(RecordError, match=r"mask\.png: has colours of 16 bits, .* save it with 8 bits"):
        read_mask_values(tmp_path / "mask.png")


def test_white_of_16_bits_is_white(tmp_path):
    save_deep_colours(tmp_path / "mask.png", np.repeat((NUMBERS > 3)[..., None] * 65535, 3, axis=2))
    assert np.array_equal(read_mask_values(tmp_path / "mask.png").values, np.where(NUMBERS > 3, 255, 0))


def test_what_is_transparent_is_background(tmp_path):
    rgba = np.full((6, 10, 4), 255, np.uint8)
    rgba[..., 3] = NUMBERS * 42  # half of 255 is between 3 and 4
    assert np.array_equal(read(tmp_path / "white.png", rgba).values, np.where(NUMBERS > 3, 255, 0))
    rgba[..., :3] = 0
    assert np.array_equal(read(tmp_path / "black.png", rgba).values, NUMBERS * 42)  # the paint itself says nothing
    picture = Image.fromarray(NUMBERS.astype(np.uint8))
    picture.putpalette([k for k in range(256) for _ in range(3)])
    found = read(tmp_path / "palette.png", picture, transparency=5)
    assert np.array_equal(found.values, np.where(NUMBERS == 5, 0, NUMBERS))


@pytest.mark.parametrize(
    "numbers", [NUMBERS - 1.0, NUMBERS + 0.5, np.where(NUMBERS > 5, np.nan, 1), np.zeros((3, 6, 10))]
)
def test_numbers_that_are_no_labels_are_refused(tmp_path, numbers):
    np.save(tmp_path / "mask.npy", numbers)
    with pytest.raises(RecordError, match=r"mask\.npy: its numbers are not labels"):
        read_mask_values(tmp_path / "mask.npy")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float64])
def test_arrays_are_read_also_with_an_axis_of_one(tmp_path, kind):
    np.save(tmp_path / "mask.npy", NUMBERS[None].astype(kind))
    assert np.array_equal(read_mask_values(tmp_path / "mask.npy").values, NUMBERS)


def test_the_masks_of_cellpose_are_read_from_its_pickle(tmp_path):
    content = {
        "masks": NUMBERS.astype(np.uint16),
        "outlines": NUMBERS > 5,
        "flows": [np.zeros((2, 3), np.float32), None],
        "diameter": np.float64(30),
        "filename": "a.png",
    }
    np.save(tmp_path / "a_seg.npy", content)  # type: ignore[arg-type]
    assert np.array_equal(read_mask_values(tmp_path / "a_seg.npy").values, NUMBERS)


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_code_in_a_pickle_is_never_executed(tmp_path):
    proof = tmp_path / "executed"
    np.save(tmp_path / "a_seg.npy", {"masks": NUMBERS, "more": Hostile(proof)})  # type: ignore[arg-type]
    with pytest.raises(RecordError, match=r"a_seg\.npy.*export the masks as PNG"):
        read_mask_values(tmp_path / "a_seg.npy")
    assert not proof.exists()
    with (tmp_path / "a_seg.npy").open("rb") as file:  # unpickled, it would
        file.seek(128)
        pickle.load(file)
    assert proof.exists()


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY\x01\x00"])
@pytest.mark.parametrize("name", ["mask.npy", "mask.png"])
def test_damaged_files_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RecordError, match=name):
        read_mask_values(tmp_path / name)


@pytest.mark.parametrize("channels", [1, 3])
def test_small_numbers_are_refused_in_a_jpeg(tmp_path, channels):
    def picture(values: np.ndarray) -> np.ndarray:
        return np.squeeze(np.repeat(np.kron(values, np.ones((8, 8)))[..., None], channels, axis=2)).astype(np.uint8)

    with pytest.raises(RecordError, match=r"mask\.jpg: .* do not survive JPEG; save the mask as PNG"):
        read(tmp_path / "mask.jpg", picture(NUMBERS))
    assert np.array_equal(read(tmp_path / "mask.png", picture(NUMBERS)).values[::8, ::8], NUMBERS)
    assert read(tmp_path / "white.jpg", picture((NUMBERS > 3) * 255)).values.max() > 250
    assert not read(tmp_path / "empty.jpg", picture(NUMBERS * 0)).values.any()
