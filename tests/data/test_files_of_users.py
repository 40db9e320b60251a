"""What users' own files look like, from a folder to cells: each test draws a small data set that is as it should be, and one
odd file or folder in it. 60 x 80 pixels; a cell is a disc of known centre, radius and area."""

import io
import struct
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy import ndimage

from data import opening
from data.mask_kinds import BINARY, CLASSES, INSTANCES
from data.opening import AnnotatedImages, ReadOptions, open_dataset
from data.records import DataError
from data.samples import Sample
from data.splits import train_val_split

SIZE = (60, 80)
CELLS = ((22, 30, 14), (58, 28, 12))  # x, y, radius: apart
TOUCHING = ((20, 30, 13), (44, 30, 13), (67, 14, 8))  # the first two touch
CLASSES_OF_FOLDERS = ("Basophil", "Eosinophil", "Lymphocyte", "Monocyte", "Neutrophil")


@pytest.fixture(autouse=True)
def no_search_for_repeated_fields(monkeypatch):
    """It takes most of the time, and has tests of its own."""
    monkeypatch.setattr(opening, "cached_groups", lambda dataset, *_: list(range(len(dataset))))


def discs(cells=CELLS, numbers=None, size=SIZE) -> np.ndarray:
    """Cell k has numbers[k], or k + 1; later cells lie on top."""
    y, x = np.mgrid[: size[0], : size[1]]
    ids = np.zeros(size, np.int64)
    for number, (cx, cy, r) in zip(numbers or range(1, len(cells) + 1), cells):
        ids[(x - cx) ** 2 + (y - cy) ** 2 < r * r] = number
    return ids


def white(ids: np.ndarray) -> np.ndarray:
    return ((ids > 0) * 255).astype(np.uint8)


def areas_of(ids: np.ndarray) -> list[int]:
    return sorted(int((ids == k).sum()) for k in np.unique(ids) if k)


def photograph(seed: int = 0, size=SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def save(path: Path, picture, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(path, **options)
    return path


def put(root: Path, label: str, name: str, mask, image=None, side="train", ending="png", **options) -> None:
    """An image of noise, unless one is given, and its mask."""
    seed = zlib.crc32(f"{side}/{label}/{name}".encode())
    save(root / side / "image" / label / f"{name}.png", photograph(seed) if image is None else image)
    save(root / side / "mask" / label / f"{name}.{ending}", mask, **options)


def healthy(root: Path, mask=None) -> Path:
    for side, count in (("train", 5), ("val", 2)):
        for k in range(count):
            put(root, CLASSES_OF_FOLDERS[k % 5], f"ok{k}", white(discs()) if mask is None else mask, side=side)
    return root


def opened(root: Path, needs_train: bool = True, **options) -> AnnotatedImages:
    return open_dataset(root, ReadOptions(**options), progress=False, needs_train=needs_train)


def sample(images: AnnotatedImages, name: str) -> Sample:
    found = [i for i, record in enumerate(images.dataset.records) if record.image.stem == name]
    assert len(found) == 1, images.skipped
    return images.dataset.samples[found[0]]


def areas(shown: Sample) -> list[int]:
    return sorted(int(region.mask.sum()) for region in shown.regions)


def classes(images: AnnotatedImages, name: str) -> list[str]:
    return [images.dataset.class_names[label - 1] for label in sample(images, name).labels]


def reason(images: AnnotatedImages, name: str) -> str:
    """Why the file of that name is left out; "" if it is not."""
    return next((item.reason for item in images.skipped if item.path.stem == name), "")


def read_odd(root: Path, mask, label="Monocyte", **options) -> list[int]:
    """The areas of the cells of a mask in a healthy folder."""
    put(healthy(root), label, "odd", mask, **options)
    return areas(sample(opened(root), "odd"))


def through_jpeg(mask: np.ndarray, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("L")


def coded(cells, codes, size=SIZE) -> np.ndarray:
    """Cells in LISC's greys: (cytoplasm, nucleus) for each, nuclei of half the radius."""
    mask = discs(cells, [cytoplasm for cytoplasm, _ in codes], size)
    nuclei = discs([(x, y, r // 2) for x, y, r in cells], [nucleus for _, nucleus in codes], size)
    return np.where(nuclei > 0, nuclei, mask).astype(np.uint8)


# Masks: which cells they show


@pytest.mark.parametrize("values", [(1,), (255,), (128,), (True,)])
def test_cells_of_binary_masks_are_the_components(tmp_path, values):
    assert read_odd(tmp_path, (discs() > 0) * np.array(values[0], np.uint8)) == areas_of(discs())


@pytest.mark.parametrize("numbers", [(1, 2, 3), (3, 7, 200), (50, 75, 100)])
def test_touching_cells_of_instance_labels_stay_apart(tmp_path, numbers):
    healthy(tmp_path, discs(TOUCHING, (4, 5, 9)).astype(np.uint8))
    put(tmp_path, "Lymphocyte", "odd", discs(TOUCHING, numbers).astype(np.uint8))
    images = opened(tmp_path)
    assert areas(sample(images, "odd")) == areas_of(discs(TOUCHING))
    assert images.dataset.mask_kinds == {INSTANCES: 8}
    assert "masks: instance-labels (8)" in images.notes[0]


def test_instance_labels_among_binary_masks_are_read_as_such_and_said(tmp_path):
    assert read_odd(tmp_path, discs(TOUCHING).astype(np.uint8)) == areas_of(discs(TOUCHING))
    assert "masks: binary (7), instance-labels (1)" in opened(tmp_path).notes[0]


@pytest.mark.parametrize(("ending", "kind"), [("png", np.uint16), ("tif", np.int32), ("tif", np.float32)])
def test_deep_label_maps_are_read(tmp_path, ending, kind):
    ids = discs(TOUCHING, (1, 300, 70_000 if kind != np.uint16 else 60_000))
    assert read_odd(tmp_path, ids.astype(kind), ending=ending) == areas_of(ids)


def test_label_maps_as_arrays_are_read(tmp_path):
    for k in range(3):
        save(tmp_path / f"{k}.png", photograph(k))
        np.save(tmp_path / f"{k}_masks.npy", discs(TOUCHING).astype(np.uint16))
    images = opened(tmp_path, needs_train=False)
    assert [areas(shown) for shown in images.dataset.samples] == [areas_of(discs(TOUCHING))] * 3


@pytest.mark.parametrize("second", [(2, 0, 0), (0, 0, 128), (255, 0, 1)])
def test_cells_in_colours_stay_apart_also_those_that_luminance_would_lose(tmp_path, second):
    """(0, 0, 128) is 15 of 255 in luminance, (1, 0, 0) is 0."""
    ids = discs(TOUCHING)
    colours = np.array([(0, 0, 0), (1, 0, 0), second, (4, 0, 0)], np.uint8)
    assert read_odd(tmp_path, colours[ids]) == areas_of(ids)


@pytest.mark.parametrize("palette", ["black", "voc"])
def test_indices_of_a_palette_are_taken_as_they_are(tmp_path, palette):
    ids = discs(TOUCHING)
    picture = Image.fromarray(ids.astype(np.uint8))
    picture.putpalette(
        {"black": [0, 0, 0, 255, 255, 255, *[0] * 762], "voc": [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]}[palette]
    )
    assert picture.mode == "P"
    assert read_odd(tmp_path, picture) == areas_of(ids)


@pytest.mark.parametrize("paint", ["erased white", "black on nothing"])
def test_what_is_transparent_is_background(tmp_path, paint):
    ids = discs()
    rgba = np.zeros((*SIZE, 4), np.uint8)
    rgba[ids > 0, :3] = 255 if paint == "erased white" else 0
    rgba[ids == 1, 3] = 255
    assert read_odd(tmp_path, rgba) == areas_of(ids)[1:]


@pytest.mark.parametrize("thickness", [1, 3, 5])
def test_the_void_around_cells_is_no_cell(tmp_path, thickness):
    """As in Pascal VOC: 255 is the border between and around instances."""
    ids = discs(TOUCHING)
    mask = np.where(ndimage.binary_dilation(ids > 0, iterations=thickness) & (ids == 0), 255, ids)
    assert read_odd(tmp_path, mask.astype(np.uint8)) == areas_of(ids)


@pytest.mark.parametrize(("thickness", "values"), [(1, (1, 2)), (3, (1, 2)), (2, (100, 200))])
def test_boundaries_of_cells_as_a_value_of_their_own_are_refused(tmp_path, thickness, values):
    ids = discs(TOUCHING)
    inside = np.any([ndimage.binary_erosion(ids == k, iterations=thickness) for k in (1, 2, 3)], axis=0)
    mask = np.where(inside, values[0], np.where(ids > 0, values[1], 0)).astype(np.uint8)
    put(healthy(tmp_path), "Monocyte", "odd", mask)
    assert "boundaries of cells" in reason(opened(tmp_path), "odd")
    assert "in one value" in reason(opened(tmp_path), "odd")


def test_what_the_border_of_the_image_leaves_of_a_cell_is_no_boundary(tmp_path):
    ids = discs(TOUCHING)
    ids[0, 5:50] = 4  # dropped afterwards as a fragment, or not: the others are read
    assert set(areas_of(discs(TOUCHING))) <= set(read_odd(tmp_path, ids.astype(np.uint8)))


# Masks that went through something


@pytest.mark.parametrize(("ending", "form"), [("jpg", "JPEG"), ("jfif", "JPEG"), ("webp", "WEBP"), ("png", "PNG")])
@pytest.mark.parametrize("quality", [50, 75, 95])
def test_jpeg_noise_is_no_cell(tmp_path, ending, form, quality):
    mask = through_jpeg(white(discs()), quality)
    found = read_odd(tmp_path, mask, ending=ending, format=form, **({} if form == "PNG" else {"quality": quality}))
    assert found == pytest.approx(areas_of(discs()), rel=0.02)


@pytest.mark.parametrize("how", ["resized", "blurred a little", "blurred"])
def test_soft_edges_are_cut_in_the_middle(tmp_path, how):
    if how == "resized":
        small = discs([(x / 2, y / 2, r / 2) for x, y, r in CELLS], size=(30, 40))
        mask = Image.fromarray(white(small)).resize((80, 60), Image.Resampling.BILINEAR)
        expected = [4 * area for area in areas_of(small)]
    else:
        blur = ImageFilter.GaussianBlur(1 if how == "blurred a little" else 2)
        mask, expected = Image.fromarray(white(discs())).filter(blur), areas_of(discs())
    assert read_odd(tmp_path, mask) == pytest.approx(expected, rel=0.04)


def test_a_label_map_that_was_resized_smoothly_is_refused(tmp_path):
    mask = Image.fromarray(discs(TOUCHING, (60, 140, 220)).astype(np.uint8))
    put(
        healthy(tmp_path),
        "Monocyte",
        "odd",
        mask.resize((160, 120), Image.Resampling.BILINEAR),
        photograph(9, (120, 160)),
    )
    assert "resize label maps to the nearest pixel" in reason(opened(tmp_path), "odd")


def test_colours_that_went_through_jpeg_are_refused(tmp_path):
    colours = np.array([(0, 0, 0), (255, 0, 0), (0, 0, 200), (0, 255, 0)], np.uint8)[discs(TOUCHING)]
    put(healthy(tmp_path), "Monocyte", "odd", colours, ending="jpg")
    assert "save the mask as PNG" in reason(opened(tmp_path), "odd")


def test_soft_edges_and_plain_masks_mark_no_nucleus(tmp_path):
    healthy(tmp_path, coded(CELLS, [(225, 255)] * 2))
    plain = Image.fromarray(white(discs()))
    put(tmp_path, "Lymphocyte", "blurred", plain.filter(ImageFilter.GaussianBlur(1)))
    put(tmp_path, "Lymphocyte", "resized", plain.resize((50, 40)).resize((80, 60), Image.Resampling.BILINEAR))
    put(tmp_path, "Lymphocyte", "hard", plain)
    for quality in (30, 50, 85):
        put(tmp_path, "Lymphocyte", f"jpeg{quality}", plain, ending="jpg", quality=quality)
    images = opened(tmp_path, compartment="nucleus")
    for name in ("blurred", "resized", "hard", "jpeg30", "jpeg50", "jpeg85"):
        assert reason(images, name) == "no nucleus in this mask"
    assert not any(item.is_error for item in images.skipped)
    assert areas(sample(images, "ok4")) == areas_of(discs([(x, y, r // 2) for x, y, r in CELLS]))


@pytest.mark.parametrize("thickness", [1, 2, 3, 4])
@pytest.mark.parametrize("grey", ["white", "code"])
def test_a_frame_is_no_cell(tmp_path, thickness, grey):
    mask = white(discs()) if grey == "white" else coded(CELLS, [(225, 255)] * 2)
    frame = np.ones(SIZE, bool)
    frame[thickness:-thickness, thickness:-thickness] = False
    mask[frame] = mask.max() if grey == "white" else 225
    assert read_odd(tmp_path, mask, label="Neutrophil") == areas_of(discs())
    assert any(f"frame of {thickness} pixels" in note for note in opened(tmp_path).notes)


def test_a_cell_that_fills_one_side_of_the_image_is_no_frame(tmp_path):
    ids = discs([(39.5, 80, 45)])
    assert ids[-1].all()
    assert read_odd(tmp_path, white(ids)) == areas_of(ids)


@pytest.mark.parametrize("background", [0.3, 0.4, 0.5, 0.6, 0.7, 0.79])
def test_inverted_masks_of_close_ups_are_refused(tmp_path, background):
    y, x = np.mgrid[:60, :80]
    k = (1 - background) * 4800 / np.pi / 1200  # an ellipse of 40 and 30 pixels, reduced
    outside = ((x - 39.5) / 40) ** 2 + ((y - 29.5) / 30) ** 2 >= k
    assert outside.mean() == pytest.approx(background, abs=0.01)
    put(healthy(tmp_path), "Neutrophil", "inverted", (outside * 255).astype(np.uint8))
    put(tmp_path, "Neutrophil", "upright", white(~outside))
    images = opened(tmp_path)
    assert reason(images, "inverted") == "everything but the cells is marked; invert the mask"
    assert areas(sample(images, "upright")) == [(~outside).sum()]


def test_an_inverted_mask_whose_cell_touches_the_border_is_refused(tmp_path):
    put(healthy(tmp_path), "Neutrophil", "inverted", white(discs([(40, 48, 26)]) == 0))
    assert "invert the mask" in reason(opened(tmp_path), "inverted")


@pytest.mark.parametrize("thickness", [1, 2])
def test_outlines_are_filled_and_said(tmp_path, thickness):
    ids = discs()
    ring = (ids > 0) & ~ndimage.binary_erosion(ids > 0, iterations=thickness)
    assert read_odd(tmp_path, white(ring)) == areas_of(ids)
    assert any("2 outlines are filled" in note for note in opened(tmp_path).notes)


def test_outlines_with_a_gap_are_refused(tmp_path):
    ids = discs()
    ring = (ids > 0) & ~ndimage.binary_erosion(ids > 0, iterations=2)
    ring[26:34, 5:12] = False
    put(healthy(tmp_path), "Monocyte", "odd", white(ring))
    assert "1 outlines that are not closed" in reason(opened(tmp_path), "odd")


# Classes


def test_lisc_codes_name_the_class_of_each_cell_of_a_mixt_folder_touching_or_not(tmp_path):
    cells, codes = ((20, 30, 14), (46, 30, 14), (68, 10, 8)), [(125, 150), (225, 255), (50, 50)]
    mask = coded(cells, codes)
    noisy, apart = through_jpeg(mask, 85), ((20, 30, 14), (56, 36, 14), (68, 10, 8))
    mask[30, 10:13] = 200  # a slip of the pen
    put(healthy(tmp_path), "mixt", "codes", mask)
    put(tmp_path, "mixt", "noisy", noisy)
    put(tmp_path, "mixt", "blurred", Image.fromarray(coded(apart, codes)).filter(ImageFilter.GaussianBlur(1)))
    images = opened(tmp_path)
    for name, drawn, tolerance in (("codes", cells, 0), ("noisy", cells, 0.03), ("blurred", apart, 0.1)):
        assert sorted(classes(images, name)) == ["basophil", "lymphocyte", "neutrophil"]
        assert sample(images, name).fragments == 0
        assert areas(sample(images, name)) == pytest.approx(areas_of(discs(drawn)), rel=tolerance)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [((1, 2, 3), "has the values 1, 2, 3"), ((60, 112, 190), "has the values 60, 112, 190"), ((255,) * 3, "in white")],
)
def test_greys_of_a_mixt_folder_that_are_no_codes_are_refused_with_the_remedy(tmp_path, numbers, words):
    put(healthy(tmp_path), "mixt", "odd", discs(TOUCHING, numbers).astype(np.uint8))
    images = opened(tmp_path)
    for each in (words, "50 basophil", "225/255 neutrophil", "--mask-kind class-indices"):
        assert each in reason(images, "odd")


def test_class_indices_are_read_when_told(tmp_path):
    mask = discs(TOUCHING, (1, 3, 3)).astype(np.uint8)
    for k in range(3):
        put(tmp_path, "mixt", f"a{k}", mask)
    images = opened(tmp_path, mask_kind=CLASSES)
    assert classes(images, "a0") == ["lymphocyte", "basophil", "lymphocyte"]  # from top to bottom
    assert images.dataset.mask_kinds == {CLASSES: 3}
    with pytest.raises(DataError, match=r"none of 3 images can be used[\s\S]*--mask-kind class-indices"):
        opened(tmp_path)


def test_a_mask_kind_that_is_told_overrules(tmp_path):
    """Numbers of instances that touch, read as one area."""
    put(healthy(tmp_path), "Monocyte", "odd", discs(TOUCHING).astype(np.uint8))
    images = opened(tmp_path, mask_kind=BINARY)
    first, second, third = (int((discs(TOUCHING) == k).sum()) for k in (1, 2, 3))
    assert areas(sample(images, "odd")) == sorted((third, first + second))
    assert images.dataset.mask_kinds == {BINARY: 8}


def test_a_picture_in_the_folders_of_two_classes_is_one_image_with_cells_of_both(tmp_path):
    healthy(tmp_path)
    for number, label in ((1, "Lymphocyte"), (2, "Neutrophil")):
        put(tmp_path, label, "both", white(discs() == number), photograph(77))
    images = opened(tmp_path)
    assert classes(images, "both") == ["lymphocyte", "neutrophil"]
    assert [int(region.mask.sum()) for region in sample(images, "both").regions] == [
        (discs() == 1).sum(),
        (discs() == 2).sum(),
    ]


def test_a_class_that_a_side_does_not_show_is_named(tmp_path):
    """LISC's layout with a single basophil, and a data set without a validation image of monocytes."""
    for label, count in (("Baso", 1), ("eosi", 4), ("neut", 4)):
        for k in range(1, count + 1):
            save(tmp_path / "lisc/Main Dataset" / label / f"{k}.bmp", photograph(zlib.crc32(f"{label}{k}".encode())))
            save(tmp_path / f"lisc/Ground Truth Segmentation/{label}/areaforexpert1/{k}_expert.bmp", white(discs()))
    splits = train_val_split(opened(tmp_path / "lisc"))
    assert any("show basophil (1 to train on, 0 to validate on)" in note for note in splits.notes)
    splits = train_val_split(opened(healthy(tmp_path / "own")))
    (note,) = (note for note in splits.notes if note.startswith("few images"))
    assert "monocyte (1 to train on, 0 to validate on)" in note


# Images without a cell, odd sizes, tiny sets


def test_images_without_a_cell_are_negatives_except_in_lisc(tmp_path):
    nothing = np.zeros(SIZE, np.uint8)
    put(healthy(tmp_path / "own"), "Monocyte", "none", nothing)
    assert areas(sample(opened(tmp_path / "own"), "none")) == []
    for k, mask in enumerate([white(discs())] * 9 + [nothing]):
        save(tmp_path / f"lisc/Main Dataset/neut/{k}.bmp", photograph(k))
        save(tmp_path / f"lisc/Ground Truth Segmentation/neut/areaforexpert1/{k}_expert.bmp", mask)
    images = opened(tmp_path / "lisc")
    assert len(images.dataset) == 9
    assert reason(images, "9_expert") == "no cell in this mask"


def test_images_of_any_size_are_used_or_refused_by_name(tmp_path):
    healthy(tmp_path)
    for k in range(30):
        put(tmp_path, "Basophil", f"more{k}", white(discs()))
    for height, width in ((1, 1), (5, 7), (12, 900), (900, 12), (31, 33)):
        mask = np.zeros((height, width), np.uint8)
        mask[height // 4 : height // 4 + max(1, height // 3), width // 4 : width // 4 + max(1, width // 3)] = 255
        put(tmp_path, "Monocyte", f"s{height}x{width}", mask, photograph(height, (height, width)))
    for name, grey in (("black", 0), ("white", 255)):
        put(tmp_path, "Monocyte", name, white(discs()), np.full((*SIZE, 3), grey, np.uint8))
    put(tmp_path, "Neutrophil", "close_up", np.pad(np.full((56, 74), 255, np.uint8), ((2, 2), (3, 3))))
    images = opened(tmp_path)
    assert areas(sample(images, "s12x900")) == areas(sample(images, "s900x12")) == [4 * 300]
    assert areas(sample(images, "s31x33")) == [10 * 11]
    assert areas(sample(images, "black")) == areas(sample(images, "white")) == areas_of(discs())
    assert "too small to be a cell" in reason(images, "s5x7")
    assert "as large as the image" in reason(images, "s1x1")
    assert "as large as the image" in reason(images, "close_up")


def test_small_cells_in_a_large_image_are_kept_beside_a_clump(tmp_path):
    cells = [(20 + 40 * (k % 10), 20 + 60 * (k // 10), 6) for k in range(30)]
    for name, shown in (("small", cells), ("clump", [*cells, (200, 230, 40)])):
        put(healthy(tmp_path), "Lymphocyte", name, white(discs(shown, size=(280, 420))), photograph(1, (280, 420)))
    images = opened(tmp_path)
    assert areas(sample(images, "small")) == [areas_of(discs([(20, 20, 6)]))[0]] * 30
    assert len(sample(images, "clump").regions) == 31


@pytest.mark.parametrize(
    ("train", "val", "words"), [(1, 1, ""), (1, 0, "0 to validate on; both sides need some"), (6, 2, "")]
)
def test_tiny_sets_are_split_or_it_is_said_why_not(tmp_path, train, val, words):
    for side, count in (("train", train), ("val", val)):
        for k in range(count):
            put(tmp_path, "Monocyte", f"{side}{k}", white(discs()), side=side)
    images = opened(tmp_path)
    if words:
        with pytest.raises(DataError, match=words):
            train_val_split(images)
    else:
        splits = train_val_split(images)
        assert (len(splits.train), len(splits.val)) == (train, val)


# Images of all modes


def png_of_16_bits(pixels: np.ndarray) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def bmp(pixels: np.ndarray, bits: int, height: int, compression=0, palette=b"", data=None) -> bytes:
    """A bitmap written by hand: of a negative height, the first row is the upper one."""
    data = pixels.tobytes() if data is None else data
    offset = 54 + len(palette)
    head = b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset)
    sizes = (40, pixels.shape[1], height, 1, bits, compression, len(data), 2835, 2835, len(palette) // 4, 0)
    return head + struct.pack("<IiiHHIIiiII", *sizes) + palette + data


def test_images_of_all_modes_are_the_same_picture_and_deep_ones_are_refused(tmp_path):
    smooth = ndimage.gaussian_filter(photograph(3).astype(float), (6, 6, 0))
    pixels = np.interp(smooth, (smooth.min(), smooth.max()), (60, 200)).astype(np.uint8)
    rgb, folder = Image.fromarray(pixels), healthy(tmp_path) / "train/image/Monocyte"
    for k in range(20):
        put(tmp_path, "Basophil", f"more{k}", white(discs()))
    pictures = {
        "grey.png": rgb.convert("L"), "la.png": rgb.convert("LA"), "rgba.png": rgb.convert("RGBA"),
        "palette.png": rgb.quantize(256), "cmyk.jpg": rgb.convert("CMYK"), "8.bmp": rgb.quantize(256), "24.bmp": rgb,
        "32.bmp": rgb.convert("RGBA"), "cmyk.tif": rgb.convert("CMYK"), "ycbcr.tif": rgb.convert("YCbCr"),
    }  # fmt: skip
    for name, picture in pictures.items():
        save(folder / f"m_{name.replace('.', '_')}.{name.split('.')[1]}", picture)
    save(folder / "m_progressive.jpg", rgb, progressive=True)
    for packed in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        save(folder / f"m_{packed}.tif", rgb, compression=packed)
    grey = np.asarray(rgb.convert("L"))
    runs = b"".join(b"".join(bytes((1, int(v))) for v in row) + b"\0\0" for row in grey[::-1]) + b"\0\1"
    palette = b"".join(bytes((v, v, v, 0)) for v in range(256))
    clear = np.concatenate([pixels[::-1, :, ::-1], np.zeros((*SIZE, 1), np.uint8)], axis=2)
    (folder / "m_topdown.bmp").write_bytes(bmp(np.ascontiguousarray(pixels[..., ::-1]), 24, -60))
    (folder / "m_clear.bmp").write_bytes(bmp(clear, 32, 60))
    (folder / "m_runs_grey.bmp").write_bytes(bmp(grey, 8, 60, 1, palette, runs))
    (folder / "m_deep.png").write_bytes(png_of_16_bits(pixels.astype(np.uint16) * 257))
    save(folder / "m_deep_grey.tif", grey.astype(np.uint16) * 257)
    for file in folder.glob("m_*"):
        save(tmp_path / "train/mask/Monocyte" / f"{file.stem}.png", white(discs()))
    images = opened(tmp_path)
    shown = [record.image for record in images.dataset.records if record.image.name.startswith("m_")]
    assert len(shown) == len(list(folder.glob("m_*"))) - 2
    for file in shown:
        expected = np.repeat(grey[..., None], 3, axis=2) if "grey" in file.name or "la_" in file.name else pixels
        difference = np.abs(sample(images, file.stem).image.numpy().astype(int) - expected)
        assert difference.mean() < 4, file  # JPEG and palettes lose a little
    for name in ("m_deep", "m_deep_grey"):
        assert "more than 8 bits per channel; save it with 8" in reason(images, name)


def tagged(orientation: int, ending: str) -> dict:
    exif = Image.Exif()
    exif[274] = orientation
    return {"tiffinfo": {274: orientation}, "compression": "tiff_lzw"} if ending == "tif" else {"exif": exif}


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, -1)])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_image_and_mask_are_turned_by_their_own_tags(tmp_path, orientation, turns, ending):
    raw, mask = photograph(5), white(discs())
    healthy(tmp_path)
    for kind, picture in (("image", raw), ("mask", mask)):
        save(tmp_path / f"train/{kind}/Monocyte/turned.{ending}", picture, **tagged(orientation, ending))
    images = opened(tmp_path)
    shown = sample(images, "turned")
    covered = np.zeros(shown.size, bool)
    for region in shown.regions:
        covered[region.slices] |= region.mask
    assert np.array_equal(shown.image, np.rot90(raw, turns))
    assert np.array_equal(covered, np.rot90(mask > 0, turns))
    assert not any("EXIF" in note for note in images.notes)


@pytest.mark.parametrize("ending", ["jpg", "tif"])
def test_of_an_image_that_is_turned_alone_it_is_said(tmp_path, ending):
    healthy(tmp_path)
    for orientation in (3, 6):
        save(tmp_path / f"train/mask/Monocyte/turned{orientation}.png", white(discs()))
        file = tmp_path / f"train/image/Monocyte/turned{orientation}.{ending}"
        save(file, photograph(orientation), **tagged(orientation, ending))
    images = opened(tmp_path)
    assert len(sample(images, "turned3").regions) == 2  # it fits either way
    assert any("turned3.png" in note and "only one of them has such a tag" in note for note in images.notes)
    assert f"image and mask fit only untouched, but turned6.{ending}" in reason(images, "turned6")
    assert "remove the orientation tag" in reason(images, "turned6")


# Folders and names


def test_loose_files_beside_the_folders_of_classes_are_listed(tmp_path):
    put(healthy(tmp_path), ".", "loose", white(discs()))
    images = opened(tmp_path)
    loose = {item.path: item for item in images.skipped}
    assert set(loose) == {tmp_path / "train/image/loose.png", tmp_path / "train/mask/loose.png"}
    assert all("beside the folders of the classes" in item.reason and not item.is_error for item in loose.values())


def test_folders_within_a_class_are_read(tmp_path):
    put(healthy(tmp_path), "Monocyte/patient2", "p", white(discs()))
    assert classes(opened(tmp_path), "p") == ["monocyte", "monocyte"]


@pytest.mark.parametrize(("ending", "form"), [("webp", "WEBP"), ("jfif", "JPEG"), ("gif", "GIF")])
def test_images_and_masks_of_rarer_endings_are_read(tmp_path, ending, form):
    healthy(tmp_path)
    save(tmp_path / f"train/image/Monocyte/odd.{ending}", photograph(4), format=form)
    save(tmp_path / f"train/mask/Monocyte/odd.{ending}", white(discs()), format=form)
    assert areas(sample(opened(tmp_path), "odd")) == areas_of(discs())


def test_every_file_is_used_or_listed_with_a_reason(tmp_path):
    healthy(tmp_path)
    (tmp_path / "train/image/Monocyte/phone.heic").write_bytes(b"any")
    (tmp_path / "train/image/Monocyte/table.xlsx").write_bytes(b"any")
    save(tmp_path / "elsewhere/a.png", photograph(8))
    put(tmp_path, "Monocyte", "lonely", white(discs()))
    (tmp_path / "train/mask/Monocyte/lonely.png").unlink()
    images = opened(tmp_path)
    assert "this kind of image is not read; save it as PNG" in reason(images, "phone")
    assert "no mask of that name" in reason(images, "lonely")
    used = {path for r in images.dataset.records for path in (r.image, *(file.path for file in r.masks))}
    listed = {item.path for item in images.skipped}
    files = {path for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith(".")}
    assert files == used | listed
    assert not used & listed


@pytest.mark.parametrize("name", ["valid", "validation", "Val"])
def test_spellings_of_the_folders_are_understood(tmp_path, name):
    healthy(tmp_path)
    (tmp_path / "val").rename(tmp_path / name)
    (tmp_path / "train/image").rename(tmp_path / "train/images")
    (tmp_path / "train/mask").rename(tmp_path / "train" / ("labels" if name == "Val" else "masks"))
    images = opened(tmp_path)
    assert len(images.dataset) == 7
    assert len(images.provided_val) == 2


@pytest.mark.parametrize(("one", "two"), [("train/image", "train/images"), ("val", "valid")])
def test_two_spellings_at_once_are_an_error_that_names_both(tmp_path, one, two):
    healthy(tmp_path)
    source = next((tmp_path / one).rglob("*.png"))
    other = tmp_path / two / source.relative_to(tmp_path / one)
    other.parent.mkdir(parents=True)
    other.write_bytes(source.read_bytes())
    with pytest.raises(DataError) as error:
        opened(tmp_path)
    assert Path(one).name in str(error.value)
    assert Path(two).name in str(error.value)


def test_odd_names_are_read_and_what_systems_leave_behind_is_ignored(tmp_path):
    names = ["a b (1)", "x.y.z", "-dash", "血涂片", "smear😀", "n" * 200, "UPPER", "1%20[2]"]
    healthy(tmp_path)
    for name in names:
        put(tmp_path, "Monocyte", name, white(discs()))
        for kind in ("image", "mask"):
            file = tmp_path / "train" / kind / "Monocyte" / f"{name}.png"
            file.rename(file.with_name(f"{name}.PNG"))
    for folder in [tmp_path, *(path for path in tmp_path.rglob("*") if path.is_dir())]:
        for junk in ("._a b (1).PNG", "Thumbs.db", ".DS_Store", "desktop.ini"):
            (folder / junk).write_bytes(b"\0\5\26\7")
    (tmp_path / "__MACOSX/train/image/Monocyte").mkdir(parents=True)
    (tmp_path / "__MACOSX/train/image/Monocyte/a.png").write_bytes(b"\0\5\26\7")
    (tmp_path / "train/image/Basophil/empty").mkdir()
    images = opened(tmp_path)
    assert all(areas(sample(images, name)) == areas_of(discs()) for name in names)
    assert images.skipped == []


def test_composed_and_decomposed_names_are_a_pair(tmp_path):
    put(healthy(tmp_path), "Monocyte", "u", white(discs()))
    for kind, form in (("image", "NFC"), ("mask", "NFD")):
        file = tmp_path / "train" / kind / "Monocyte/u.png"
        file.rename(file.with_name(unicodedata.normalize(form, "Müller.png")))
    assert areas(sample(opened(tmp_path), unicodedata.normalize("NFC", "Müller"))) == areas_of(discs())


def test_links_to_folders_are_followed(tmp_path):
    healthy(tmp_path / "disk")
    (tmp_path / "data").mkdir()
    for side in ("train", "val"):
        (tmp_path / "data" / side).symlink_to(tmp_path / "disk" / side, target_is_directory=True)
    assert len(opened(tmp_path / "data").dataset) == 7
