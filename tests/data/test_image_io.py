import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from data.image_io import align_mask, read_image_and_mask
from data.records import ImageRecord, RecordError
from maskrcnn.inference.image_io import ImageError, load_image


@pytest.mark.parametrize("kind", ["zero bytes", "truncated BMP", "damaged PNG", "text", "16-bit PNG", "missing"])
def test_load_image_names_the_file(bad_files, kind):
    with pytest.raises(ImageError, match=bad_files[kind].name):
        load_image(bad_files[kind])


def test_a_16_bit_colour_image_is_refused_though_pillow_would_reduce_it(tmp_path):
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    width, height = 12, 9
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)  # 16 bits, colour type 2: RGB
    rows = zlib.compress((b"\0" + b"\x12\x34" * 3 * width) * height)
    path = tmp_path / "deep_colour.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    with Image.open(path) as image:
        assert image.mode == "RGB"
    with pytest.raises(ImageError, match=r"deep_colour\.png.*8 bits"):
        load_image(path)


def test_transparency_is_dropped_and_grey_becomes_rgb(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 4), dtype=np.uint8)
    images = {"rgba.png": pixels, "grey.bmp": pixels[..., 0], "bit.png": pixels[..., 0] > 127}
    for name, values in images.items():
        Image.fromarray(values).save(tmp_path / name)
    assert np.array_equal(load_image(tmp_path / "rgba.png"), pixels[..., :3])
    grey = load_image(str(tmp_path / "grey.bmp"))
    assert grey.shape == (9, 12, 3)
    assert grey.dtype == np.uint8
    assert all(np.array_equal(grey[..., c], pixels[..., 0]) for c in range(3))
    black_or_white = load_image(tmp_path / "bit.png")
    assert np.array_equal(black_or_white[..., 0], np.where(pixels[..., 0] > 127, 255, 0))


def test_an_image_is_turned_upright(tmp_path):
    """EXIF orientation 6: the first row of pixels is the right side of the image."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(load_image(tmp_path / "turned.png"), np.rot90(pixels, -1))


def test_a_file_of_several_images_is_refused(tmp_path):
    pages = [Image.new("RGB", (12, 9), colour) for colour in ("red", "blue")]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ImageError, match=r"stack\.tif.*2 images"):
        load_image(tmp_path / "stack.tif")
    pages[0].save(tmp_path / "one.tif")
    assert load_image(tmp_path / "one.tif").shape == (9, 12, 3)


def test_image_and_mask_come_as_arrays_of_one_size(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (29, 32, 3), dtype=np.uint8)
    greys = np.random.default_rng(1).integers(0, 256, (21, 24), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    Image.fromarray(greys).save(tmp_path / "mask.png")
    image, mask = read_image_and_mask(ImageRecord(tmp_path / "image.png", tmp_path / "mask.png", None))
    assert np.array_equal(image, pixels)
    assert np.array_equal(mask, np.pad(greys, 4))  # LISC's margin, on every side


def test_all_unusable_files_of_a_record_are_named_at_once(tmp_path, bad_files):
    record = ImageRecord(bad_files["text"], bad_files["zero bytes"], "monocyte")
    with pytest.raises(RecordError) as error:
        read_image_and_mask(record)
    assert [item.path for item in error.value.skipped] == [record.image, record.mask]
    with pytest.raises(RecordError, match="has no mask"):
        read_image_and_mask(record._replace(mask=None))


@pytest.mark.parametrize("size", [(28, 32), (29, 31), (37, 40), (21, 32), (25, 28)])
def test_a_mask_of_another_size_is_refused(tmp_path, size):
    mask = Image.new("L", size[::-1])
    with pytest.raises(RecordError, match=f"mask is {size[1]} x {size[0]}, its image 32 x 29"):
        align_mask(mask, tmp_path / "mask.png", (29, 32))
