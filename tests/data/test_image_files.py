import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from data.image_files import load_image
from data.lisc import DataError


@pytest.mark.parametrize("kind", ["zero bytes", "truncated BMP", "damaged PNG", "text", "16-bit PNG", "missing"])
def test_load_image_names_the_file(bad_files, kind):
    with pytest.raises(DataError, match=bad_files[kind].name):
        load_image(bad_files[kind])


def test_a_16_bit_colour_image_is_refused_though_pillow_would_cut_it_down(tmp_path):
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    width, height = 12, 9
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)  # 16 bits, colour type 2: RGB
    rows = zlib.compress((b"\0" + b"\x12\x34" * 3 * width) * height)
    path = tmp_path / "deep_colour.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    with Image.open(path) as picture:
        assert picture.mode == "RGB"
    with pytest.raises(DataError, match=r"deep_colour\.png.*8 bits"):
        load_image(path)


def test_transparency_is_dropped_and_grey_becomes_rgb(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 4), dtype=np.uint8)
    pictures = {"rgba.png": pixels, "grey.bmp": pixels[..., 0], "bit.png": pixels[..., 0] > 127}
    for name, values in pictures.items():
        Image.fromarray(values).save(tmp_path / name)
    assert np.array_equal(load_image(tmp_path / "rgba.png"), pixels[..., :3])
    grey = load_image(str(tmp_path / "grey.bmp"))
    assert grey.shape == (9, 12, 3)
    assert grey.dtype == np.uint8
    assert all(np.array_equal(grey[..., c], pixels[..., 0]) for c in range(3))
    black_or_white = load_image(tmp_path / "bit.png")
    assert np.array_equal(black_or_white[..., 0], np.where(pixels[..., 0] > 127, 255, 0))


def test_an_image_stands_as_its_camera_says(tmp_path):
    """Orientation 6: the first row of pixels is the right side of the picture."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(load_image(tmp_path / "turned.png"), np.rot90(pixels, -1))


def test_a_file_of_several_pictures_is_refused(tmp_path):
    pages = [Image.new("RGB", (12, 9), colour) for colour in ("red", "blue")]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match=r"stack\.tif.*2 pictures"):
        load_image(tmp_path / "stack.tif")
    pages[0].save(tmp_path / "one.tif")
    assert load_image(tmp_path / "one.tif").shape == (9, 12, 3)
