import csv
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from data.convert import TARGETS, convert_dataset
from data.dataset import Sample, SmearDataset
from data.formats.files import key
from data.inspect.report import dataset_report
from data.mask_values import read_mask_values
from data.opening import AnnotatedImages, ReadOptions, open_dataset
from data.records import DataError, ImageRecord
from data.shapes import parse_counts
from data.splits import train_val_split
from maskrcnn.inference.export import rle_encode
from maskrcnn.inference.image_io import orientation
from maskrcnn.regions import Region

HEIGHT, WIDTH = 48, 64
# x1, y1, x2, y2 and class of each cell of an image; in a.png the first two touch, and the third overlaps the second.
IMAGES = {
    "train/a.png": [(5, 5, 20, 25, "u"), (20, 5, 40, 25, "u"), (35, 15, 55, 40, "v")],
    "train/b.png": [(5, 5, 30, 30, "v")],
    "train/empty.png": [],
    "val/c.png": [(10, 10, 30, 30, "u"), (40, 10, 60, 30, "v")],
}


def save_image(path: Path, number: int, size=(WIDTH, HEIGHT), **options) -> None:
    """Noise: no two are the same field of view."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)


def make(root: Path, images=IMAGES, classes=("u", "v"), size=(WIDTH, HEIGHT)) -> AnnotatedImages:
    """A data set as COCO's JSON, whose boxes are the cells."""
    for side in {Path(name).parent.name for name in images}:
        listed, annotations = [], []
        for number, (name, boxes) in enumerate(images.items()):
            if Path(name).parent.name == side:
                save_image(root / name, number, size)
                listed.append({"id": number, "file_name": Path(name).name})
                for x1, y1, x2, y2, label in boxes:
                    outline = [[x1, y1, x2, y1, x2, y2, x1, y2]]
                    category = classes.index(label)
                    annotations.append({"image_id": number, "category_id": category, "segmentation": outline})
        categories = [{"id": i, "name": name} for i, name in enumerate(classes)]
        content = {"images": listed, "annotations": annotations, "categories": categories}
        (root / side / "x.json").write_text(json.dumps(content))
    return reread(root)


def reread(root: Path) -> AnnotatedImages:
    return open_dataset(root, ReadOptions(max_side=None), progress=False)


def content(images: AnnotatedImages) -> dict:
    """Name of the image -> its side and cells as class and pixels."""
    val = images.provided_val or []
    return {
        record.image.stem: (
            "val" if i in val else "train",
            sorted(
                (images.dataset.class_names[label - 1], mask.numpy().tobytes())
                for label, mask in zip(target["labels"], target["masks"])
            ),
        )
        for i, (record, (_, target)) in enumerate(zip(images.dataset.records, images.dataset))
    }


def convert(images: AnnotatedImages, out: Path, target: str) -> tuple[AnnotatedImages, list[str]]:
    notes = list(convert_dataset(images, out, target))
    return reread(out), notes


@pytest.fixture
def apart(tmp_path) -> AnnotatedImages:
    """Without the overlapping cell, which label maps cannot hold."""
    return make(tmp_path / "in", {**IMAGES, "train/a.png": [*IMAGES["train/a.png"][:2], (42, 15, 55, 40, "v")]})


def test_coco_loses_nothing(tmp_path):
    """Overlapping and touching cells, classes, images without a cell, the split, every pixel."""
    images = make(tmp_path / "in")
    again, notes = convert(images, tmp_path / "out", "coco")
    assert content(again) == content(images)
    assert again.dataset.class_names == ("u", "v")
    assert notes[-1] == f"4 images with 6 cells in {tmp_path / 'out'}, as coco"
    for name in ("a.png", "c.png"):
        assert (tmp_path / "out/images" / name).read_bytes() == next((tmp_path / "in").glob(f"*/{name}")).read_bytes()


def test_pycocotools_reads_what_is_written(tmp_path):
    convert(make(tmp_path / "in"), tmp_path / "out", "coco")
    theirs = COCO(tmp_path / "out/annotations/instances_train.json")
    assert [theirs.cats[i]["name"] for i in theirs.getCatIds()] == ["u", "v"]
    boxes = [box[:4] for name in ("a", "b", "empty") for box in IMAGES[f"train/{name}.png"]]
    for annotation, (x1, y1, x2, y2) in zip(theirs.loadAnns(theirs.getAnnIds()), boxes):
        expected = np.zeros((HEIGHT, WIDTH), np.uint8)
        expected[y1:y2, x1:x2] = 1
        assert (theirs.annToMask(annotation) == expected).all()
        assert (annotation["area"], annotation["bbox"]) == (expected.sum(), [x1, y1, x2 - x1, y2 - y1])


def test_class_folders_keep_touching_cells_apart_images_of_several_classes_whole_and_images_without_a_cell(
    apart, tmp_path
):
    again, _ = convert(apart, tmp_path / "out", "class-folders")
    assert content(again) == content(apart)
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("a.png")}
    assert written == {f"train/{kind}/{name}/a.png" for kind in ("image", "mask") for name in "uv"}


def test_label_maps_have_the_classes_of_their_numbers_in_a_table(apart, tmp_path):
    again, notes = convert(apart, tmp_path / "out", "label-maps")
    plain = {
        name: (side, sorted(("cell", pixels) for _, pixels in cells)) for name, (side, cells) in content(apart).items()
    }
    assert content(again) == plain
    assert "label maps hold no classes: they are in classes.csv" in notes
    with open(tmp_path / "out/classes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows if row["file"] == "train/a.png"] == ["u", "u", "v"]
    number = next(row["number"] for row in rows if row["file"] == "val/c.png" and row["class"] == "v")
    label_map = np.asarray(Image.open(tmp_path / "out/val/masks/c.png"))
    assert np.unique(label_map[10:30, 40:60]).tolist() == [int(number)]


def test_pixels_and_cells_that_label_maps_cannot_hold_are_counted(tmp_path):
    covered = [(10, 10, 30, 30, "u"), (5, 5, 40, 40, "u"), (35, 5, 60, 40, "u")]
    images = make(tmp_path / "in", {"train/a.png": covered, "train/b.png": covered[1:]})
    again, notes = convert(images, tmp_path / "out", "label-maps")
    overlap = 20 * 20 + 2 * 5 * 35
    assert f"{overlap} pixels belonged to two cells; each now belongs to the later one" in notes
    assert any(note.startswith("1 cells are lost") for note in notes)
    assert sum(len(sample.labels) for sample in again.dataset.samples) == 4


def test_a_single_cell_of_several_parts_is_noted(tmp_path):
    images = make(tmp_path / "in", {"train/a.png": [(5, 5, 20, 20, "u")], "train/b.png": [(5, 5, 20, 20, "u")]})
    content = json.loads((tmp_path / "in/train/x.json").read_text())
    content["annotations"][0]["segmentation"].append([40, 5, 60, 5, 60, 20, 40, 20])
    (tmp_path / "in/train/x.json").write_text(json.dumps(content))
    images = reread(tmp_path / "in")
    for target in ("class-folders", "label-maps"):
        notes = list(convert_dataset(images, tmp_path / target, target))
        assert any(note.startswith("1 masks have one cell only, of several parts") for note in notes)
    again, _ = convert(images, tmp_path / "coco", "coco")
    assert [len(sample.labels) for sample in again.dataset.samples] == [1, 1]


def test_cells_of_very_different_sizes_survive_every_way_there_and_back(tmp_path):
    """Platelets beside leukocytes, alone in their image, in their class, and on the edge of the image."""
    cells = [(2, 2, 44, 44, "u"), (50, 2, 54, 6, "v"), (60, 40, 64, 48, "v"), (46, 44, 50, 47, "u")]
    images = {f"train/{i}.png": cells[i : i + 2] for i in range(3)} | {"train/all.png": cells, "val/empty.png": []}
    images = make(tmp_path / "in", images)
    assert [len(sample.labels) for sample in images.dataset.samples] == [2, 2, 2, 4, 0]
    folders, _ = convert(images, tmp_path / "folders", "class-folders")
    assert content(folders) == content(images)
    assert content(convert(folders, tmp_path / "back", "coco")[0]) == content(images)
    maps, _ = convert(images, tmp_path / "maps", "label-maps")
    assert [len(sample.labels) for sample in maps.dataset.samples] == [2, 2, 2, 4, 0]


def test_images_of_several_classes_in_class_folders_are_neither_repeated_nor_doubtful(tmp_path):
    cells = [(5, 5, 20, 25, "u"), (35, 15, 55, 40, "v"), (18, 5, 34, 30, "w")]
    names = [f"{side}/{i}.png" for side in ("train", "val") for i in range(side == "val", 9, 2)]
    images = make(tmp_path / "in", dict.fromkeys(names, cells), ("u", "v", "w"))
    convert(images, tmp_path / "out", "class-folders")
    again = open_dataset(tmp_path / "out", progress=False)
    assert len(again.dataset) == len(names)
    lines = dataset_report(train_val_split(again)).splitlines()
    assert "fields shown more than once: none" in lines
    assert not any("class in doubt" in line for line in lines)
    assert "files left out: 18" in lines
    assert len([line for line in lines if "which has the cells of both masks" in line]) == 5
    assert lines[-1] == "  ... and 13 more like these"


def test_a_cell_of_a_large_image_is_written_without_a_mask_of_the_whole_image(tmp_path):
    height, width = 3000, 4000
    region = Region(2990, 3900, np.ones((10, 20), bool))
    image = torch.zeros(1, dtype=torch.uint8).expand(height, width, 3)
    sample = Sample(image, [region], torch.tensor([region.box]), torch.tensor([1]))
    save_image(tmp_path / "a.png", 0)
    dataset = SmearDataset([ImageRecord(tmp_path / "a.png")], [sample], ("cell",))
    tracemalloc.start()
    list(convert_dataset(AnnotatedImages(tmp_path, dataset, [0], None, []), tmp_path / "out", "coco"))
    assert tracemalloc.get_traced_memory()[1] < height * width / 4
    tracemalloc.stop()
    (annotation,) = json.loads((tmp_path / "out/annotations/instances.json").read_text())["annotations"]
    runs = parse_counts(annotation["segmentation"]["counts"])
    assert runs.tolist() == [3900 * height + 2990, *[10, 2990] * 19, 10, 80 * height]
    assert annotation["segmentation"]["size"] == [height, width]


@pytest.mark.parametrize(("count", "ending"), [(300, ".png"), (66_000, ".tif")])
def test_label_maps_number_more_cells_than_8_and_16_bits(tmp_path, count, ending):
    side = 300
    save_image(tmp_path / "a.png", 0, (side, side))
    rows, columns = np.divmod(np.arange(count), side)
    regions = [Region(top, left, np.ones((1, 1), bool)) for top, left in zip(rows.tolist(), columns.tolist())]
    image = torch.zeros(side, side, 3, dtype=torch.uint8)
    sample = Sample(image, regions, torch.zeros(count, 4), torch.ones(count, dtype=torch.int64))
    dataset = SmearDataset([ImageRecord(tmp_path / "a.png")], [sample], ("cell",))
    list(convert_dataset(AnnotatedImages(tmp_path, dataset, [0], None, []), tmp_path / "out", "label-maps"))
    values = read_mask_values(tmp_path / f"out/masks/a{ending}").values
    expected = np.zeros((side, side), np.int64)
    expected[rows, columns] = np.arange(1, count + 1)
    assert (values == expected).all()


def test_images_of_one_name_get_different_names(tmp_path):
    """Also from one that is already named so."""
    cell = [(5, 5, 30, 30, "u")]
    names = ("train/a.png", "val/a.png", "train/train_a.png", "train/train_a_2.png", "train/b.png")
    images = make(tmp_path / "in", dict.fromkeys(names, cell))
    assert len(images.dataset) == 5
    again, _ = convert(images, tmp_path / "out", "coco")
    written = sorted(path.name for path in (tmp_path / "out/images").iterdir())
    assert len({name.lower() for name in written}) == 5
    assert len(again.dataset) == 5
    pixels = {sample.image.numpy().tobytes() for sample in images.dataset.samples}
    assert {sample.image.numpy().tobytes() for sample in again.dataset.samples} == pixels


def test_finding_free_names_takes_a_step_or_two_for_each_image(tmp_path, monkeypatch):
    """Of 300 images of one name, from folders of one name."""
    steps = []
    monkeypatch.setattr("data.convert.key", lambda path: steps.append(path) or key(path))
    save_image(tmp_path / "a.png", 0)
    for i in range(300):
        (tmp_path / f"{i}/x").mkdir(parents=True)
        (tmp_path / f"{i}/x/a.png").symlink_to(tmp_path / "a.png")
    sample = Sample(torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8), [], torch.zeros(0, 4), torch.zeros(0).long())
    records = [ImageRecord(tmp_path / f"{i}/x/a.png") for i in range(300)]
    images = AnnotatedImages(tmp_path, SmearDataset(records, [sample] * 300, ("cell",)), list(range(300)), None, [])
    list(convert_dataset(images, tmp_path / "out", "coco"))
    names = ["x_a.png", *(f"x_a_{i}.png" for i in range(2, 301))]
    assert {path.name for path in (tmp_path / "out/images").iterdir()} == set(names)
    assert len(steps) < 5 * 300


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("target", TARGETS)
def test_an_image_that_its_tags_turn_is_written_upright(tmp_path, target, mode):
    exif = Image.Exif()
    exif[274] = 6  # turned by 90 degrees to the right
    (tmp_path / "in").mkdir()
    for name in "ab":
        pixels = np.random.default_rng(ord(name)).integers(0, 256, (WIDTH, HEIGHT, 3), np.uint8)  # lying on its side
        Image.fromarray(pixels).convert(mode).save(tmp_path / f"in/{name}.jpg", exif=exif)
    upright = np.zeros((HEIGHT, WIDTH), bool)
    upright[5:20, 10:40] = True
    runs = rle_encode(Region(0, 0, upright), upright.shape)
    annotations = [{"image_id": i, "category_id": 1, "segmentation": runs} for i in (1, 2)]
    listed = [{"id": i, "file_name": name} for i, name in ((1, "a.jpg"), (2, "b.jpg"))]
    whole = {"images": listed, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
    (tmp_path / "in/x.json").write_text(json.dumps(whole))
    images = reread(tmp_path / "in")
    assert images.dataset.samples[0].size == (HEIGHT, WIDTH)
    again, _ = convert(images, tmp_path / "out", target)
    assert content(again) == content(images)
    for record in again.dataset.records:
        with Image.open(record.image) as written:
            assert (written.size, orientation(record.image)) == ((WIDTH, HEIGHT), 1)
    for before, after in zip(images.dataset.samples, again.dataset.samples):
        assert (before.image == after.image).all()


@pytest.mark.parametrize("name", ["u/v", "a\\b", "x: y?", "..", " u.", "CON", "aux.1", "Lpt9 .x", "mixt"])
def test_classes_whose_names_no_folder_can_have_get_one(tmp_path, name):
    images = make(
        tmp_path / "in", {"train/a.png": [(5, 5, 30, 30, name)], "val/a.png": [(5, 5, 30, 30, name)]}, (name,)
    )
    again, notes = convert(images, tmp_path / "out", "class-folders")
    (folder,) = (tmp_path / "out/train/image").iterdir()
    assert len(again.dataset) == 2
    assert again.dataset.class_names == (folder.name,)
    assert f"the class {name.strip()} is in the folder {folder.name}" in notes


@pytest.mark.parametrize("name", ["CONE", "COM", "COM10", "null", "x.con"])
def test_names_that_merely_resemble_those_of_devices_stay(tmp_path, name):
    images = make(tmp_path / "in", {f"{side}/a.png": [(5, 5, 30, 30, name)] for side in ("train", "val")}, (name,))
    assert convert(images, tmp_path / "out", "class-folders")[0].dataset.class_names == (name,)


def test_two_classes_for_one_folder_are_refused(tmp_path):
    cells = [(5, 5, 20, 30, "u/v"), (30, 5, 50, 30, "U_V")]
    images = make(tmp_path / "in", {"train/a.png": cells, "val/a.png": cells}, ("u/v", "U_V"))
    with pytest.raises(DataError, match="the classes u/v and U_V would share a folder"):
        list(convert_dataset(images, tmp_path / "out", "class-folders"))


def test_what_is_left_out_is_said_and_a_folder_with_files_is_not_written_to(tmp_path):
    images = make(tmp_path / "in", {f"train/{i}.png": [(5, 5, 30, 30, "u")] for i in range(3)})
    (tmp_path / "in/train/1.png").write_bytes(b"")
    images = reread(tmp_path / "in")
    notes = list(convert_dataset(images, tmp_path / "out", "coco"))
    assert any(note.startswith("left out: ") and "1.png" in note for note in notes)
    with pytest.raises(DataError, match="already exists"):
        list(convert_dataset(images, tmp_path / "out", "coco"))
