import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import data.dataset as dataset_module
from data.dataset import SmearDataset, listed, read_dataset
from data.image_io import Annotated
from data.masks import Cell
from data.opening import ReadOptions, open_dataset
from data.records import DataError, ImageRecord, MaskFile, RecordError, Shape, Skipped
from data.samples import make_sample
from maskrcnn.config import LISC_CLASSES
from maskrcnn.regions import Region

H, W = 96, 120


def write(path: Path, pixels, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(path, **options)
    return path


def noise(*shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def rectangles(*corners, size=(H, W)) -> np.ndarray:
    """Corners x1, y1, x2, y2, grey; x2 and y2 are past the end."""
    mask = np.zeros(size, np.uint8)
    for x1, y1, x2, y2, grey in corners:
        mask[y1:y2, x1:x2] = grey
    return mask


def write_record(folder: Path, mask, label="monocyte", image=None) -> ImageRecord:
    name = f"{len(list(folder.iterdir())):02d}"
    image = noise(H, W, 3) if image is None else image
    image_path, mask_path = write(folder / f"{name}.png", image), write(folder / f"{name}_mask.png", mask)
    return record_of(image_path, mask_path, label)


def record_of(image: Path, mask: Path, label: str | None = "monocyte") -> ImageRecord:
    return ImageRecord(image, (MaskFile(mask, label),))


def read(*records, **options) -> SmearDataset:
    return read_dataset(records, progress=False, **options)


def error_of(*records, **options) -> str:
    with pytest.raises(DataError) as error:
        read(*records, **options)
    return str(error.value)


def test_image_and_target_follow_torchvisions_convention(tmp_path):
    mask = rectangles((10, 20, 40, 50, 175), (15, 25, 30, 40, 200), (70, 5, 120, 96, 1))
    dataset = read(write_record(tmp_path, mask))
    assert len(dataset) == 1
    assert dataset.records[0].label == "monocyte"
    image, target = dataset[0]
    assert (image.dtype, image.shape) == (torch.float32, (3, H, W))
    assert image.is_contiguous()
    assert torch.equal((image * 255).round().byte(), torch.from_numpy(noise(H, W, 3)).permute(2, 0, 1))
    # The larger one begins higher up. Its far edges are those of the image itself: 120 and 96.
    assert torch.equal(target["boxes"], torch.tensor([[70.0, 5, 120, 96], [10, 20, 40, 50]]))
    assert torch.equal(target["labels"], torch.tensor([4, 4]))
    assert (target["masks"].dtype, target["masks"].shape) == (torch.uint8, (2, H, W))
    assert target["masks"].sum((1, 2)).tolist() == [50 * 91, 30 * 30]
    assert torch.equal(target["masks"].amax(0).bool(), torch.from_numpy(mask > 0))


def test_changing_an_item_in_place_does_not_change_the_data_set(tmp_path):
    dataset = read(write_record(tmp_path, rectangles((10, 20, 40, 50, 9))))
    image, target = dataset[0]
    for value in (image, *target.values()):
        value.zero_()
    image, target = dataset[0]
    assert image.any()
    assert all(value.any() for value in target.values())


def test_files_are_read_once(tmp_path):
    record = write_record(tmp_path, rectangles((10, 20, 40, 50, 9)))
    dataset = read(record)
    record.image.unlink()
    record.annotation.unlink()
    assert dataset[0][0].shape == (3, H, W)


def test_labels_follow_the_given_class_names(tmp_path):
    mask = rectangles((10, 20, 40, 50, 9))
    assert read(write_record(tmp_path, mask), class_names=("neutrophil", "monocyte"))[0][1]["labels"].tolist() == [2]
    assert "monocyte" in error_of(write_record(tmp_path, mask), class_names=("neutrophil",))


def test_more_cells_than_a_byte_can_count(tmp_path):
    mask = np.zeros((100, 120), np.uint8)
    mask[::3, ::4] = 200  # 34 rows of 30 single pixels
    dataset = read(write_record(tmp_path, mask, image=noise(100, 120, 3)))
    masks = dataset[0][1]["masks"]
    assert masks.shape[0] == 34 * 30
    assert masks.sum((1, 2)).eq(1).all()


@pytest.mark.parametrize("compartment", ["whole-cell", "nucleus"])
def test_as_many_cells_as_a_byte_can_just_count(tmp_path, compartment):
    mask = np.zeros((100, 120), np.uint8)
    mask[::6, ::8] = 75  # 17 rows of 15: 255
    mask[::6, 1::8] = 100
    record = write_record(tmp_path, mask, image=noise(100, 120, 3))
    target = read(record, compartment=compartment)[0][1]
    assert len(target["boxes"]) == 255
    assert target["masks"].sum((1, 2)).eq(2 if compartment == "whole-cell" else 1).all()


def test_more_fragments_than_a_byte_can_count(tmp_path):
    mask = rectangles((0, 50, 100, 90, 200))
    mask[:40:2, ::4] = 200  # 20 rows of 30 single pixels
    dataset = read(write_record(tmp_path, mask))
    assert dataset.samples[0].fragments == 600
    assert len(dataset[0][1]["boxes"]) == 1


def test_the_smaller_masks_of_lisc_get_four_pixels_on_every_side(tmp_path):
    mask = rectangles((0, 0, 30, 10, 225), size=(568, 712))
    record = write_record(tmp_path, mask, image=noise(576, 720, 3))
    (file,) = record.masks
    target = read(record._replace(masks=(file._replace(may_lack_margin=True),)))[0][1]
    assert torch.equal(target["boxes"], torch.tensor([[4.0, 4, 34, 14]]))
    assert target["masks"].shape == (1, 576, 720)


@pytest.mark.parametrize("size", [(H - 8, W), (H, W - 8), (H - 4, W - 4), (W, H), (H + 8, W + 8), (H - 9, W - 9)])
def test_a_mask_of_another_size_is_refused(tmp_path, size):
    record = write_record(tmp_path, rectangles((10, 10, 60, 60, 9), size=size))
    text = error_of(record)
    assert str(record.annotation) in text
    assert f"{size[1]} x {size[0]}" in text
    assert f"{W} x {H}" in text


def test_in_an_image_of_several_classes_the_grey_codes_decide(tmp_path):
    codes = {"basophil": (50, 50), "eosinophil": (75, 100), "lymphocyte": (125, 150), "monocyte": (175, 200),
             "neutrophil": (225, 255)}  # fmt: skip
    for k, name in enumerate(LISC_CLASSES, start=1):
        cytoplasm, nucleus = codes[name]
        mask = rectangles((10, 10, 40, 40, cytoplasm), (15, 15, 35, 35, nucleus), (60, 60, 90, 90, 50))
        assert read(write_record(tmp_path, mask, label=None))[0][1]["labels"].tolist() == [k, 1]
    # The majority: 30 pixels in the code of the neutrophil do not change 870 of a lymphocyte, one of which is a bit off.
    mask = rectangles((10, 10, 40, 40, 125), (10, 10, 40, 11, 255), (20, 20, 40, 40, 146))
    assert read(write_record(tmp_path, mask, label=None))[0][1]["labels"].tolist() == [3]


def test_in_an_image_of_one_class_the_folder_decides(tmp_path):
    assert read(write_record(tmp_path, rectangles((10, 10, 40, 40, 250)), label="basophil"))[0][1][
        "labels"
    ].tolist() == [1]


def test_masks_of_colour_palette_one_bit_and_jpeg(tmp_path):
    cell = rectangles((10, 20, 41, 50, 255))
    masks = {
        "rgb.png": Image.fromarray(cell).convert("RGB"),
        "palette.png": Image.fromarray(cell).convert("P"),
        "bit.bmp": Image.fromarray(cell).convert("1"),
        "compressed.jpg": Image.fromarray(cell),
    }
    image = write(tmp_path / "image.png", noise(H, W, 3))
    for name, pixels in masks.items():
        mask = write(tmp_path / name, pixels)
        target = read(record_of(image, mask))[0][1]
        error = 1 if name.endswith("jpg") else 0  # at the edge; without the threshold it is up to 7
        assert (target["boxes"] - torch.tensor([[10.0, 20, 41, 50]])).abs().max() <= error


def test_an_image_without_a_cell_is_a_negative(tmp_path):
    good = write_record(tmp_path, rectangles((10, 10, 40, 40, 9)))
    empty = write_record(tmp_path, np.zeros((H, W), np.uint8))
    dataset = read(empty, good)
    assert dataset.records == [empty, good]
    assert not dataset.skipped
    shapes = {name: tuple(value.shape) for name, value in dataset[0][1].items()}
    assert shapes == {"boxes": (0, 4), "labels": (0,), "masks": (0, H, W)}
    shapes = {name: tuple(value.shape) for name, value in dataset.downscaled([(H // 2, W // 2)] * 2)[0][1].items()}
    assert shapes == {"boxes": (0, 4), "labels": (0,), "masks": (0, H // 2, W // 2)}


def test_an_empty_mask_is_left_out_and_listed_where_it_is_a_slip(tmp_path):
    """As in LISC."""
    good = write_record(tmp_path, rectangles((10, 10, 40, 40, 9)))
    empty = write_record(tmp_path, np.zeros((H, W), np.uint8))
    dataset = read(empty, good, keep_empty=False)
    assert dataset.records == [good]
    assert len(dataset) == 1
    assert [item.path for item in dataset.skipped] == [empty.annotation]
    assert str(empty.annotation) in error_of(empty, keep_empty=False)  # an error if all are empty


def test_a_mask_with_greys_of_another_class_than_its_folder_is_noted(tmp_path):
    eosinophil = rectangles((10, 10, 60, 60, 75), (20, 20, 40, 40, 100))
    other_data = rectangles((10, 10, 60, 60, 150), (20, 20, 40, 40, 250))  # not LISC's codes
    cases = ((eosinophil, "monocyte"), (eosinophil, "eosinophil"), (other_data, "monocyte"), (eosinophil, None))
    dataset = read(*(write_record(tmp_path, mask, label) for mask, label in cases))
    notes = [sample.class_conflict for sample in dataset.samples]
    assert "eosinophil" in notes[0]
    assert notes[1:] == ["", "", ""]
    assert dataset.samples[0].labels.tolist() == [4]  # the folder's class is used


def test_fragments_too_small_to_be_a_cell_are_counted(tmp_path):
    mask = rectangles((10, 10, 60, 60, 9), (70, 10, 71, 12, 9), (80, 10, 82, 11, 9))
    assert read(write_record(tmp_path, mask)).samples[0].fragments == 2


def test_the_nucleus_as_compartment(tmp_path):
    """Cells with the grey codes of LISC, with those of other data, and one without a nucleus."""
    mask = rectangles(
        (5, 5, 35, 35, 175), (10, 12, 20, 22, 200), (25, 12, 30, 30, 200),  # two lobes: one nucleus
        (40, 5, 70, 35, 150), (45, 10, 60, 33, 250),
        (75, 5, 105, 35, 50),
    )  # fmt: skip
    target = read(write_record(tmp_path, mask), compartment="nucleus")[0][1]
    assert target["boxes"].tolist() == [[10, 12, 30, 30], [45, 10, 60, 33]]
    assert target["masks"].sum((1, 2)).tolist() == [10 * 10 + 5 * 18, 15 * 23]
    assert len(target["labels"]) == 2
    cells = read(write_record(tmp_path, mask))[0][1]
    assert cells["masks"].sum((1, 2)).tolist() == [900] * 3
    assert "no nucleus" in error_of(write_record(tmp_path, rectangles((5, 5, 35, 35, 50))), compartment="nucleus")
    with pytest.raises(ValueError, match="compartment 'lobe'"):
        read(compartment="lobe")


def test_a_subset_reads_nothing_again(tmp_path):
    masks = [rectangles((10, 10, 20 + 10 * k, 40, 9)) for k in range(3)]
    dataset = read(*(write_record(tmp_path, mask) for mask in masks))
    records = list(dataset.records)
    for record in records:
        record.image.unlink()
    subset = dataset.subset([2, 0])
    assert subset.records == [records[2], records[0]]
    assert [subset[i][1]["boxes"][0, 2].item() for i in range(2)] == [40, 20]
    assert len(dataset) == 3


def test_downscaled_images_keep_their_colours_boxes_and_masks(tmp_path):
    mask = rectangles((12, 24, 36, 48, 175), (72, 6, 120, 96, 1))
    dataset = read(write_record(tmp_path, mask), write_record(tmp_path, mask))
    downscaled = dataset.downscaled([(H // 3, W // 3), (H, W)])  # the second one stays as it is
    (image, target), (small, smaller) = dataset[0], downscaled[0]
    # A third of the size, with triangle weights on the five to seven nearest pixels of each.
    expected = torch.nn.functional.interpolate(image[None], (H // 3, W // 3), mode="bilinear", antialias=True)[0]
    assert (small - expected).abs().max() < 0.01
    assert torch.equal(smaller["boxes"], target["boxes"] / 3)
    assert torch.equal(smaller["masks"], target["masks"][:, 1::3, 1::3])
    assert torch.equal(smaller["labels"], target["labels"])
    assert torch.equal(downscaled[1][0], dataset[1][0])
    assert downscaled[1][1].keys() == dataset[1][1].keys()
    assert torch.equal(dataset[0][0], image)


@pytest.mark.parametrize(
    ("size", "box"), [((H // 2, W // 2), [5.5, 12.0, 20.0, 24.0]), ((H // 2, W // 4), [2.75, 12.0, 10.0, 24.0])]
)
def test_a_downscaled_box_keeps_its_fraction_of_a_pixel(tmp_path, size, box):
    dataset = read(write_record(tmp_path, rectangles((11, 24, 40, 48, 175))))
    assert dataset.downscaled([size])[0][1]["boxes"].tolist() == [box]


def test_only_images_that_are_larger_both_ways_are_downscaled(tmp_path):
    dataset = read(write_record(tmp_path, rectangles((11, 24, 40, 48, 175))))
    for size in ((H, W // 2), (H // 2, W), (2 * H, 2 * W)):
        assert dataset.downscaled([size]).samples[0] is dataset.samples[0]


def test_every_bad_image_and_mask_is_left_out_and_named(tmp_path, bad_files):
    mask = write(tmp_path / "mask.png", rectangles((10, 10, 40, 40, 9)))
    good = record_of(tmp_path / "whole.png", mask)
    dataset = read(*(record_of(path, mask) for path in bad_files.values()), good, good._replace(masks=()))
    assert dataset.records == [good]
    assert [item.path for item in dataset.skipped] == [*bad_files.values(), good.image]  # the last is without a mask
    bad_masks = [
        path for kind, path in bad_files.items() if "bit" not in kind and kind != "float TIFF"
    ]  # those are fine
    dataset = read(good, *(record_of(good.image, path) for path in bad_masks))
    assert dataset.records == [good]
    assert [item.path for item in dataset.skipped] == bad_masks


def test_image_and_mask_of_one_record_are_both_named(bad_files):
    text = error_of(record_of(bad_files["text"], bad_files["zero bytes"]))
    assert str(bad_files["text"]) in text
    assert str(bad_files["zero bytes"]) in text


def test_a_bar_shows_the_progress_of_reading_on_a_terminal(tmp_path, capsys, monkeypatch):
    record = write_record(tmp_path, rectangles((10, 10, 40, 40, 9)))
    read_dataset([record])
    assert "reading" not in capsys.readouterr().err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    read_dataset([record])
    assert "reading" in capsys.readouterr().err
    read(record)
    assert "reading" not in capsys.readouterr().err


def test_no_records_are_no_images():
    assert len(read()) == 0


@pytest.mark.skipif("BCCD" not in os.environ, reason="the environment variable BCCD names no folder of real smears")
def test_real_smears_where_there_are_some():
    """The masks of an image together are the mask of the file, and every box is the one of its mask."""
    images = open_dataset(os.environ["BCCD"], ReadOptions(max_side=None), progress=False)
    dataset = images.dataset.subset(images.provided_val[::10])
    records = dataset.records
    for i, record in enumerate(records):
        mask, label = record.annotation, record.label.lower()
        _, target = dataset[i]
        assert torch.equal(target["masks"].amax(0).bool(), torch.from_numpy(np.array(Image.open(mask)) > 0))
        assert set(target["labels"].tolist()) == {LISC_CLASSES.index(label) + 1}
        for box, cell in zip(target["boxes"], target["masks"]):
            rows, columns = torch.where(cell)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("white", [1.0, 0.85])
def test_an_inverted_or_white_mask_is_no_cell_as_large_as_the_image(white):
    top = round(100 * (1 - white))
    cell = Cell(Region(top, 0, np.ones((100 - top, 100), bool)), "lymphocyte")
    annotated = Annotated(np.zeros((100, 100, 3), np.uint8), [cell], [], [])
    with pytest.raises(RecordError, match=r"m\.png: a cell as large as the image"):
        make_sample(annotated, record_of(Path("i.png"), Path("m.png")))


def squares(*sides: int) -> np.ndarray:
    """[100, 160]: squares side by side."""
    mask = np.zeros((100, 160), np.uint8)
    left = 0
    for side in sides:
        mask[:side, left : left + side] = 255
        left += side + 2
    return mask


@pytest.mark.parametrize(
    ("masks", "kept"),
    [
        # The typical area is 40 x 40 = 1,600, and 5 % of it are 80 pixels: 9 x 9 is a cell, 8 x 8 a fragment.
        ([(40, 40, 40)], [3]),
        ([(40, 40, 8)], [2]),
        ([(40, 40, 9)], [3]),
        # Beside small ones in its own mask a small one is a cell, down to 0.5 % of 1,600 = 8 pixels.
        ([(40, 40, 40), (8, 8, 8)], [3, 3]),
        ([(40, 40, 40), (8, 8, 2)], [3, 2]),
        ([(40, 40, 40), (3, 3, 3)], [3, 3]),
        # A clump does not make cells fragments: beside three of 10 x 10 pixels one of 70 x 70.
        ([(10, 10, 10, 10), (10, 10, 10, 70), (10, 10, 10, 10), *[(10, 10, 10, 10)] * 12], [4] * 15),
    ],
)
def test_a_fragment_is_tiny_beside_the_cells_of_its_mask_and_of_the_data_set(tmp_path, masks, kept):
    dataset = read(*(write_record(tmp_path, squares(*sides), image=noise(100, 160, 3)) for sides in masks))
    assert [len(sample.labels) for sample in dataset.samples] == kept
    assert [sample.fragments for sample in dataset.samples] == [len(m) - k for m, k in zip(masks, kept)]


def test_an_image_with_nothing_but_fragments_is_left_out_and_listed(tmp_path):
    cells = write_record(tmp_path, squares(40, 40, 40), image=noise(100, 160, 3))
    speck = write_record(tmp_path, squares(2), image=noise(100, 160, 3))
    dataset = read(cells, speck)
    assert dataset.records == [cells]
    (skipped,) = dataset.skipped
    assert skipped.path == speck.annotation
    assert "too small to be a cell" in skipped.reason


def polygon_record(folder: Path, *corners, size=(H, W)) -> ImageRecord:
    """Rectangles x1, y1, x2, y2 as shapes of an annotation file."""
    image = write(folder / f"{len(list(folder.iterdir())):02d}.png", noise(*size, 3))
    outlines = [np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], float) for x1, y1, x2, y2 in corners]
    return ImageRecord(image, (), tuple(Shape("monocyte", ((outline,),)) for outline in outlines))


def test_what_is_drawn_or_numbered_or_has_a_file_of_its_own_is_no_fragment(tmp_path):
    """Beside cells of 40 x 40 pixels those of 3 x 3 and of 2 x 1."""
    corners = [(0, 0, 40, 40), (0, 50, 40, 90), (50, 50, 53, 53), (60, 60, 62, 61)]
    drawn = polygon_record(tmp_path, *corners)
    numbered = write_record(tmp_path, rectangles(*((*box, k) for k, box in enumerate(corners, start=1))))
    files = [write(tmp_path / f"m{k}.png", rectangles((*box, 255))) for k, box in enumerate(corners)]
    single = ImageRecord(drawn.image, tuple(MaskFile(file, "monocyte", one_cell=True) for file in files))
    dataset = read(drawn, numbered, single)
    assert [(len(sample.labels), sample.fragments) for sample in dataset.samples] == [(4, 0)] * 3
    assert dataset.mask_kinds == {"instance-labels": 1, "binary": 4}


def test_an_image_none_of_whose_cells_is_left_is_not_trained_on_as_one_without_cells(tmp_path):
    size = (400, 600)
    cells = polygon_record(tmp_path, (20, 20, 100, 100), (0, 0, 1, 1), size=size)
    specks = polygon_record(tmp_path, (0, 0, 1, 1), (8, 8, 9, 9), size=size)
    empty = polygon_record(tmp_path, size=size)
    dataset = read(cells, specks, empty, max_side=100)
    assert dataset.records == [cells, empty]
    assert [(len(sample.labels), sample.vanished) for sample in dataset.samples] == [(1, 1), (0, 0)]
    (skipped,) = dataset.skipped
    assert (skipped.path, skipped.is_error) == (specks.annotation, False)
    assert skipped.reason == "no cell of it is left in an image of 150 x 100 pixels; cut the image into smaller ones"
    assert len(read(cells, specks, empty)[1][1]["labels"]) == 2  # at full size nothing is lost


def test_as_many_images_as_threads_are_in_memory_at_full_size(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_module, "READERS", 1)
    size = (1000, 1500)
    records = [polygon_record(tmp_path, (20, 20, 700, 700), size=size) for _ in range(3)]

    def peak(*some) -> int:
        tracemalloc.start()
        read(*some, max_side=100)
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return memory

    assert peak(*records) < peak(records[0]) + 0.5 * 3 * size[0] * size[1]


def test_of_many_files_that_are_left_out_for_one_reason_the_first_are_listed():
    same = [Skipped(Path(f"{k}.png"), f"the mask is {k} x {k}, as in a/{k}.png") for k in range(8)]
    other = Skipped(Path("z.png"), "has no mask")
    lines = listed([*same[:2], other, *same[2:]])
    assert lines == [*map(str, same[:5]), "... and 3 more like these", "z.png: has no mask"]
    assert listed(same[:5]) == list(map(str, same[:5]))
    assert listed([]) == []


def test_if_none_of_many_images_can_be_used_the_error_is_short(tmp_path):
    text = error_of(*(record_of(tmp_path / f"{k}.png", tmp_path / f"{k}m.png") for k in range(100)))
    assert text.startswith("none of 100 images can be used:")
    assert "195 more like these" in text
    assert len(text.splitlines()) == 7


@pytest.mark.parametrize(
    ("size", "scale"), [((400, 600), 0.25), ((600, 400), 0.25), ((100, 150), 1.0), ((90, 3000), 1.0)]
)
def test_large_images_are_kept_at_the_size_that_training_needs(tmp_path, size, scale):
    mask = np.zeros(size, np.uint8)
    mask[20:60, 40:100] = 255
    sample = read(write_record(tmp_path, mask, image=noise(*size, 3)), max_side=100).samples[0]
    assert sample.scale == scale
    assert sample.size == tuple(round(side * scale) for side in size)
    assert sample.boxes.tolist() == [[40 * scale, 20 * scale, 100 * scale, 60 * scale]]
    assert sample.regions[0].mask.sum() == 40 * 60 * scale**2


def test_a_data_set_is_pickled_by_value(tmp_path):
    """Shared through file handles, tensors of many images would use them up in the processes of a loader."""
    dataset = read(*(write_record(tmp_path, rectangles((10, 20, 40, 50, 9))) for _ in range(3)))
    again = pickle.loads(pickle.dumps(dataset))
    assert again.records == dataset.records
    assert all(torch.equal(a.image, b.image) for a, b in zip(again.samples, dataset.samples))
    assert torch.equal(again[2][1]["masks"], dataset[2][1]["masks"])
