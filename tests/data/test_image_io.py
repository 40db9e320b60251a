import struct
import weakref
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data import image_io
from data.image_io import align_mask, around_marks, read_annotated
from data.mask_kinds import BINARY, CODES, INSTANCES, MaskMeaning, possible_kinds
from data.mask_values import MaskValues, read_mask_values
from data.masks import MaskError, cells_of_mask
from data.records import ImageRecord, MaskFile, RecordError, Shape
from maskrcnn.inference.image_io import ImageError, load_image, orientation


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
    assert orientation(tmp_path / "turned.png") == 6
    # The standard allows the tags behind the pixels as well.
    Image.fromarray(pixels).save(tmp_path / "behind.png")
    whole, content = (tmp_path / "behind.png").read_bytes(), b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    assert orientation(tmp_path / "behind.png") == 1
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    (tmp_path / "behind.png").write_bytes(whole[:-12] + chunk + whole[-12:])
    assert orientation(tmp_path / "behind.png") == 6


def test_a_file_of_several_images_is_refused(tmp_path):
    pages = [Image.new("RGB", (12, 9), colour) for colour in ("red", "blue")]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ImageError, match=r"stack\.tif.*2 images"):
        load_image(tmp_path / "stack.tif")
    pages[0].save(tmp_path / "one.tif")
    assert load_image(tmp_path / "one.tif").shape == (9, 12, 3)


@pytest.mark.parametrize("compression", ["tiff_lzw", "raw"])
def test_a_tiff_of_greys_is_turned_upright(tmp_path, compression):
    greys = np.random.default_rng(0).integers(0, 256, (9, 12), dtype=np.uint8)
    Image.fromarray(greys).save(tmp_path / "turned.tif", tiffinfo={0x0112: 6}, compression=compression)
    assert np.array_equal(load_image(tmp_path / "turned.tif")[..., 0], np.rot90(greys, -1))


@pytest.fixture
def record(tmp_path) -> ImageRecord:
    """An image of 32 x 29 with two masks: one of two squares, and one of LISC's size of a square with a nucleus."""
    pixels = np.random.default_rng(0).integers(0, 256, (29, 32, 3), dtype=np.uint8)
    squares, coded = np.zeros((29, 32), np.uint8), np.zeros((21, 24), np.uint8)
    squares[2:8, 2:8] = squares[2:8, 12:18] = 255
    coded[10:20, 10:20], coded[13:17, 13:17] = 175, 200
    for name, values in (("image", pixels), ("squares", squares), ("coded", coded)):
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    masks = (
        MaskFile(tmp_path / "squares.png", "disc"),
        MaskFile(tmp_path / "coded.png", "monocyte", may_lack_margin=True),
    )
    return ImageRecord(tmp_path / "image.png", masks)


def test_an_image_comes_with_the_cells_of_all_its_masks(record):
    found = read_annotated(record, MaskMeaning(BINARY, ("disc", "monocyte")))
    assert np.array_equal(found.image, np.asarray(Image.open(record.image)))
    assert [(cell.label, cell.region.box) for cell in found.cells] == [
        ("disc", (2, 2, 8, 8)),
        ("disc", (12, 2, 18, 8)),
        ("monocyte", (14, 14, 24, 24)),  # LISC's margin of 4, on every side
    ]
    assert found.cells[2].nucleus.box == (17, 17, 21, 21)
    assert found.kinds == [BINARY, BINARY]
    assert found.remarks == []


def test_a_mask_of_one_cell_is_one_cell_whatever_its_parts(record):
    file = record.masks[0]._replace(one_cell=True)
    [cell] = read_annotated(record._replace(masks=(file,)), MaskMeaning(BINARY, ("disc",))).cells
    assert (cell.label, cell.region.box, int(cell.region.mask.sum())) == ("disc", (2, 2, 18, 8), 72)


@given(
    corner=st.tuples(st.integers(-12, 70), st.integers(-12, 90)),
    radii=st.lists(st.integers(3, 14), min_size=1, max_size=4),
    values=st.sampled_from([(255,), (1, 2, 3), (100, 255), (1, 255), (75, 100)]),
    ring=st.booleans(),
)
def test_only_what_a_mask_marks_is_looked_at_and_nothing_changes(corner, radii, values, ring):
    """Discs in a row, or their outlines, at any place of the image and over its border."""
    y, x = np.mgrid[:96, :120]
    mask = np.zeros((96, 120), np.int64)
    for k, radius in enumerate(radii):
        distance = np.hypot(y - corner[0] - 16, x - corner[1] - 30 * k)
        mask[(distance <= radius) & (distance >= (radius - 2 if ring else 0))] = values[k % len(values)]
    whole = MaskValues(mask, "greys")
    part, top, left = around_marks(whole)
    assert possible_kinds(part) == possible_kinds(whole)
    expected, found = (_cells_or_reason(each) for each in (whole, part))
    if isinstance(expected, str):
        assert found == expected
    else:
        assert [_pixels(cell.moved(top, left)) for cell in found] == [_pixels(cell) for cell in expected]


def _cells_or_reason(mask):
    try:
        return cells_of_mask(mask, possible_kinds(mask)[0], True, ("a",)).cells
    except MaskError as error:
        return str(error)


def _pixels(cell):
    nucleus = cell.nucleus and (cell.nucleus.box, cell.nucleus.mask.tobytes())
    return cell.region.box, cell.region.mask.tobytes(), nucleus, cell.grey_label


def test_a_kind_that_is_forced_holds_for_masks_that_could_not_have_it(record):
    only = record._replace(masks=record.masks[1:])
    assert read_annotated(only, MaskMeaning(INSTANCES, ("monocyte",), is_told=True)).kinds == [INSTANCES]
    assert len(read_annotated(only, MaskMeaning(INSTANCES, ("monocyte",), is_told=True)).cells) == 2
    assert read_annotated(only, MaskMeaning(INSTANCES, ("monocyte",))).kinds == [INSTANCES]  # codes can be numbers
    white = record._replace(masks=record.masks[:1])
    assert read_annotated(white, MaskMeaning(INSTANCES, ("disc",))).kinds == [BINARY]
    assert read_annotated(white, MaskMeaning(CODES, ("disc",))).kinds == [CODES]


def test_all_unusable_files_of_a_record_are_named_at_once(record, bad_files):
    masks = (MaskFile(bad_files["zero bytes"], "a"), MaskFile(bad_files["missing"], "a"))
    with pytest.raises(RecordError) as error:
        read_annotated(ImageRecord(bad_files["text"], masks), MaskMeaning(BINARY, ("a",)))
    assert [item.path for item in error.value.skipped] == [bad_files[k] for k in ("text", "zero bytes", "missing")]
    with pytest.raises(RecordError, match="has no mask"):
        read_annotated(ImageRecord(record.image), MaskMeaning(BINARY, ("a",)))


@pytest.mark.parametrize(("shift", "is_told"), [(0, True), (1, True), (6, False)])
def test_a_cell_that_is_there_twice_is_told(record, shift, is_told):
    square = np.array([[2, 4], [14, 4], [14, 16], [2, 16]], float)
    shapes = (Shape("disc", ((square,),)), Shape("disc", ((square + np.array((shift, 0)),),)))
    found = read_annotated(ImageRecord(record.image, shapes=shapes), MaskMeaning(BINARY, ("disc",)))
    assert len(found.cells) == 2
    assert any("nearly the same pixels" in remark for remark in found.remarks) == is_told


def test_shapes_are_cells_and_those_of_an_image_of_another_size_are_refused(record):
    square = np.array([[3, 4], [9, 4], [9, 11], [3, 11]], float)
    thin = np.array([[5, 5], [5.2, 5], [5.2, 5.2]])
    shapes = (Shape("disc", ((square,),)), Shape("disc", ((thin,),)))
    drawn = ImageRecord(record.image, shapes=shapes, size=(29, 32))
    found = read_annotated(drawn, MaskMeaning(BINARY, ("disc",)))
    assert [(cell.label, cell.region.box) for cell in found.cells] == [("disc", (3, 4, 9, 11))]
    assert found.remarks == ["a shape that is too thin to cover a pixel is left out"]
    assert read_annotated(drawn._replace(shapes=()), MaskMeaning(BINARY, ("disc",))).cells == []
    with pytest.raises(RecordError, match=r"image\.png, region 7: too thin to cover a pixel, and there is no other"):
        read_annotated(drawn._replace(shapes=(shapes[1]._replace(entry="region 7"),)), MaskMeaning(BINARY, ("disc",)))
    with pytest.raises(RecordError, match=r"is for image\.png of 29 x 32 pixels, and the file has 32 x 29"):
        read_annotated(drawn._replace(size=(32, 29)), MaskMeaning(BINARY, ("disc",)))


@pytest.mark.parametrize("size", [(28, 32), (29, 31), (37, 40), (21, 32), (25, 28)])
def test_a_mask_of_another_size_is_refused(record, size):
    with pytest.raises(RecordError, match=f"mask is {size[1]} x {size[0]}, its image 32 x 29"):
        align_mask(np.zeros(size, np.int64), record, record.masks[1], (29, 32))


def test_a_mask_of_the_size_of_the_image_or_of_lisc_is_aligned(record):
    values = np.random.default_rng(1).integers(0, 256, (29, 32))
    other, lisc = record.masks
    assert np.array_equal(align_mask(values, record, other, (29, 32)), values)
    assert np.array_equal(align_mask(values, record, lisc, (29, 32)), values)
    assert np.array_equal(align_mask(values, record, lisc, (37, 40))[4:-4, 4:-4], values)
    assert align_mask(values, record, lisc, (37, 40)).sum() == values.sum()


def test_a_mask_that_is_none_of_lisc_is_not_padded(record):
    with pytest.raises(RecordError, match=r"squares\.png: the mask is 32 x 29, its image 40 x 37; [^,]*$"):
        align_mask(np.zeros((29, 32), np.int64), record, record.masks[0], (37, 40))


def one_cell_each(record: ImageRecord, *masks: np.ndarray) -> ImageRecord:
    files = [record.image.with_name(f"cell{k}.png") for k in range(len(masks))]
    for file, mask in zip(files, masks):
        Image.fromarray((mask * 255).astype(np.uint8)).save(file)
    return record._replace(masks=tuple(MaskFile(file, "disc", one_cell=True) for file in files))


def box(x1, y1, x2, y2) -> np.ndarray:
    mask = np.zeros((29, 32), bool)
    mask[y1:y2, x1:x2] = True
    return mask


SEPARATE = box(2, 2, 8, 8), box(8, 2, 14, 8), box(20, 2, 30, 12)


@pytest.mark.parametrize(
    "extra",
    [
        SEPARATE[0] | SEPARATE[1] | SEPARATE[2],
        SEPARATE[0] | SEPARATE[1],  # touching cells as one
        SEPARATE[2],  # a copy
    ],
)
@pytest.mark.parametrize("place", [0, 3])
def test_a_mask_that_only_repeats_others_is_no_cell(record, extra, place):
    masks = [*SEPARATE]
    masks.insert(place, extra)
    found = read_annotated(one_cell_each(record, *masks), MaskMeaning(BINARY, ("disc",)))
    boxes = {(2, 2, 8, 8), (8, 2, 14, 8), (20, 2, 30, 12)}
    assert ({cell.region.box for cell in found.cells}, len(found.cells)) == (boxes, 3)
    assert found.remarks == ["a mask that only shows again what other masks of its image show is left out"]


def test_cells_that_overlap_are_no_repetition(record):
    """The last lies half on each of two others; the third contains a small one."""
    masks = [box(2, 2, 12, 12), box(12, 2, 22, 12), box(2, 14, 22, 24), box(4, 16, 12, 24), box(6, 2, 18, 12)]
    found = read_annotated(one_cell_each(record, *masks), MaskMeaning(BINARY, ("disc",)))
    assert (len(found.cells), found.remarks) == (5, [])


def test_of_cells_that_touch_in_a_binary_mask_it_is_said(record):
    y, x = np.mgrid[:29, :32]
    touching = ((x - 9) ** 2 + (y - 12) ** 2 < 49) | ((x - 22) ** 2 + (y - 12) ** 2 < 49)
    masks = one_cell_each(record, touching).masks
    binary = read_annotated(record._replace(masks=(masks[0]._replace(one_cell=False),)), MaskMeaning(BINARY, ("disc",)))
    assert len(binary.cells) == 1
    assert ["several cells that touch" in remark for remark in binary.remarks] == [True]
    assert (
        read_annotated(record._replace(masks=masks), MaskMeaning(BINARY, ("disc",))).remarks == []
    )  # one cell, as told


def test_masks_are_in_memory_one_at_a_time(record, monkeypatch):
    alive: list[weakref.ref[np.ndarray]] = []

    def read(path):
        assert all(array() is None for array in alive)
        mask = read_mask_values(path)
        alive.append(weakref.ref(mask.values))
        return mask

    monkeypatch.setattr(image_io, "read_mask_values", read)
    found = read_annotated(one_cell_each(record, *SEPARATE), MaskMeaning(BINARY, ("disc",)))
    assert (len(found.cells), len(alive)) == (3, 3)


def test_unreadable_masks_are_named_also_after_one_of_another_size(record, bad_files):
    Image.fromarray(np.full((5, 5), 255, np.uint8)).save(record.image.with_name("small.png"))
    paths = record.image.with_name("small.png"), bad_files["zero bytes"], bad_files["missing"]
    files = tuple(MaskFile(path, "disc") for path in paths)
    with pytest.raises(RecordError) as error:
        read_annotated(record._replace(masks=files), MaskMeaning(BINARY, ("disc",)))
    assert [item.path for item in error.value.skipped] == [*paths]
    assert "the mask is 5 x 5" in error.value.skipped[0].reason
