import json
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from data.formats import index_dataset
from data.records import DataError
from maskrcnn.inference.export import PREDICTIONS

HEIGHT, WIDTH = 48, 64
SQUARE = [10, 20, 20, 20, 20, 30, 10, 30]  # x, y in turn
RIGHT = [40, 20, 50, 20, 50, 30, 40, 30]


def annotation(segmentation, image=1, category=1, **others) -> dict:
    return {"id": 7, "image_id": image, "category_id": category, "segmentation": segmentation, **others}


def content(*annotations, files=("a.png",), names=("cell",), **others) -> dict:
    images = [{"id": i, "file_name": file, "height": HEIGHT, "width": WIDTH} for i, file in enumerate(files, 1)]
    categories = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
    return {"images": images, "annotations": list(annotations), "categories": categories, **others}


def write(path: Path, what: dict, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(what), encoding="utf-8", **options)


def blob(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    centre = rng.integers(16, 32, 2)
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < rng.integers(60, 200) + 40 * np.sin(x + y)


def test_run_lengths_are_those_of_pycocotools_pixel_by_pixel(tmp_path, save_image, read, cells):
    masks = np.array([blob(seed) for seed in range(4)])
    compressed = [coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]
    texts = [{"size": rle["size"], "counts": rle["counts"].decode()} for rle in compressed[:2]]
    edges = [np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=False, append=not mask[-1, -1])) for mask in masks]
    lists = [{"size": [HEIGHT, WIDTH], "counts": np.diff(edge, prepend=0).tolist()} for edge in edges[2:]]
    write(tmp_path / "result.json", content(*map(annotation, texts + lists)))
    save_image(tmp_path / "a.png")
    assert (cells(read(tmp_path)) == masks).all()


def test_polygons_are_those_of_pycocotools_up_to_the_edge_and_several_are_one_cell(tmp_path, save_image, read, cells):
    angles = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    circles = [np.stack([x + 10 * np.cos(angles), 24 + 10 * np.sin(angles)], 1).ravel().tolist() for x in (15, 45)]
    write(tmp_path / "a.json", content(annotation(circles, bbox=[0, 0, 1, 1], area=1)))
    save_image(tmp_path / "a.png")
    theirs = COCO(tmp_path / "a.json").annToMask(annotation(circles)) > 0
    (ours,) = cells(read(tmp_path))
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.95


def test_whole_coordinates_are_edges_of_pixels(tmp_path, save_image, read, cells):
    write(tmp_path / "a.json", content(annotation([SQUARE, RIGHT])))
    save_image(tmp_path / "a.png")
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[20:30, 10:20] = expected[20:30, 40:50] = True
    assert (cells(read(tmp_path)) == expected).all()


def test_crowd_regions_are_counted_and_left_out(tmp_path, save_image, read, cells):
    crowd = annotation({"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH]}, iscrowd=1)
    write(tmp_path / "a.json", content(annotation([SQUARE], iscrowd=0), crowd, crowd))
    save_image(tmp_path / "a.png")
    assert len(cells(read(tmp_path))) == 1
    assert [note for note in index_dataset(tmp_path).notes if "2 crowd regions;" in note]


def test_what_was_painted_with_the_brush_of_cvat_is_a_cell(tmp_path, save_image, read, cells):
    """CVAT writes it as a crowd, with attributes, which COCO's own files do not have."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[5:15, 8:20] = mask[20:25, 8:20] = True
    runs = np.diff(np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=False)), prepend=0, append=mask.size).tolist()
    painted = annotation({"size": [HEIGHT, WIDTH], "counts": runs}, iscrowd=1, attributes={"occluded": False})
    write(tmp_path / "a.json", content(painted))
    save_image(tmp_path / "a.png")
    assert (cells(read(tmp_path)) == mask).all()


@pytest.mark.parametrize("ids", [(0, 5), (907, 12), ("x", "y"), (1, "2"), ("3", 4)])
def test_ids_are_any_and_may_be_text_in_one_place_and_a_number_in_another(tmp_path, ids, save_image, read):
    what = content(*(annotation([SQUARE], i, c) for i, c in zip(ids, reversed(ids))), files="ab", names="uv")
    for image, category, number in zip(what["images"], what["categories"], ids):
        image["file_name"] += ".png"
        image["id"] = category["id"] = str(number)
        save_image(tmp_path / image["file_name"])
    write(tmp_path / "a.json", what)
    dataset = read(tmp_path)
    assert dataset.class_names == ("u", "v")
    assert [sample.labels.tolist() for sample in dataset.samples] == [[2], [1]]


def test_an_image_shows_several_classes_and_one_without_annotation_is_negative(tmp_path, save_image, read):
    whole = content(annotation([SQUARE]), annotation([RIGHT], category=2), files=("a.png", "b.png"), names=("u", "v"))
    write(tmp_path / "a.json", whole)
    for name in "abc":
        save_image(tmp_path / f"{name}.png")
    dataset = read(tmp_path)
    assert [sample.labels.tolist() for sample in dataset.samples] == [[1, 2], []]
    (unlisted,) = dataset.skipped
    assert (unlisted.path.name, unlisted.reason, unlisted.is_error) == ("c.png", "no JSON file lists it", False)


def test_classes_are_in_the_order_of_the_file_without_those_that_no_cell_has(tmp_path, save_image):
    """Roboflow adds a class with the name of the project, at 0."""
    what = content(annotation([SQUARE], category=3), names=("project", "v", "u"))
    write(tmp_path / "train/_annotations.coco.json", what)
    save_image(tmp_path / "train/a.png")
    write(
        tmp_path / "valid/_annotations.coco.json",
        content(annotation([SQUARE], category=2), names=("project", "v", "u")),
    )
    save_image(tmp_path / "valid/a.png")
    assert index_dataset(tmp_path).class_names == ("v", "u")


ROBOFLOW = {f"{side}/_annotations.coco.json": f"{side}/a_jpg.rf.0.png" for side in ("train", "valid", "test")}
LAYOUTS = {
    "CVAT": ({"annotations/instances_default.json": "images/a.png"}, "a.png", {None}),
    "COCO": ({f"annotations/instances_{s}2017.json": f"{s}2017/a.png" for s in ("train", "val")}, "a.png", {"val"}),
    "CVAT per split": (
        {f"{side}/annotations/instances_default.json": f"{side}/images/a.png" for side in ("Train", "validation")},
        "a.png",
        {"val"},
    ),
    "Roboflow": (ROBOFLOW, "a_jpg.rf.0.png", {"val", "test"}),
    "Label Studio": ({"result.json": "images/b1-a.png"}, "images/b1-a.png", {None}),
    "Label Studio on Windows": ({"result.json": "images/b1-a.png"}, "images\\b1-a.png", {None}),
    "of another machine": ({"a.json": "images/a.png"}, "C:\\Users\\me\\images\\a.png", {None}),
    "LabelMe": ({"annotations.json": "JPEGImages/a.png"}, "JPEGImages/a.png", {None}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layouts_of_other_programs_are_read_with_their_splits(tmp_path, layout, save_image):
    files, name, sides = LAYOUTS[layout]
    for file, image in files.items():
        write(tmp_path / file, content(annotation([SQUARE]), files=[name]))
        save_image(tmp_path / image)
    index = index_dataset(tmp_path)
    images = [tmp_path / image for image in files.values()]
    assert (index.format, index.skipped) == ("coco", [])
    assert [record.image for record in index.train] == images[:1]
    assert [record.image for record in index.val or []] == images[1:2]
    assert [record.image for record in index.test] == images[2:]
    assert {side for side in ("val", "test") if getattr(index, side)} == sides - {None}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_any_unicode_encoding_and_both_forms_of_accents_are_read(tmp_path, forms, encoding, save_image, read, cells):
    names = [unicodedata.normalize(form, "Zellstück é.png") for form in forms]
    (tmp_path / "a.json").write_text(json.dumps(content(annotation([SQUARE]), files=names[:1])), encoding=encoding)
    save_image(tmp_path / names[1])
    assert len(cells(read(tmp_path))) == 1


RLE = {"size": [HEIGHT, WIDTH], "counts": [100, 20, HEIGHT * WIDTH - 120]}
WRONG_ENTRIES = {
    "two points": ([[1, 2, 30, 4]], "a polygon of 2 points"),
    "odd": ([[1, 2, 30, 4, 5, 6, 7]], "7 coordinates"),
    "NaN": ([[1, 2, 30, 4, float("nan"), 6]], "not a number"),
    "text": ([[1, 2, 30, 4, "x", 6]], "not numbers"),
    "not nested": (SQUARE, "neither a list of polygons"),
    "a text": ("abc", "neither a list of polygons"),
    "only a box": ([], "only a box"),
    "outside": ([[1000, 1000, 1010, 1000, 1010, 1010]], "outside the image of 64 x 48"),
    "RLE of another size": ({"size": [4, 5], "counts": [10, 10]}, "its mask is 5 x 4, the image 64 x 48"),
    "RLE that is too short": ({**RLE, "counts": [100, 20]}, "add up to 120, not 64 x 48"),
    "RLE with a negative run": ({**RLE, "counts": [-100, 3172]}, "add up to"),
    "RLE cut short": ({**RLE, "counts": "1o"}, "cut short"),
    "RLE of fractions": ({**RLE, "counts": [1.5, 3070.5]}, "neither whole numbers"),
    "RLE without counts": ({"size": [HEIGHT, WIDTH]}, "counts is missing"),
    "RLE without size": ({"size": 5, "counts": [1]}, "not \\[height, width\\]"),
}


@pytest.mark.parametrize("kind", WRONG_ENTRIES)
def test_a_wrong_annotation_is_named_and_its_image_left_out(tmp_path, kind, save_image, read):
    segmentation, message = WRONG_ENTRIES[kind]
    files = ("a.png", "b.png")
    wrong = {**annotation(segmentation), "id": 815, "bbox": [1, 2, 3, 4]}
    write(tmp_path / "x.json", content(wrong, annotation([SQUARE], image=2), files=files))
    for file in files:
        save_image(tmp_path / file)
    dataset = read(tmp_path)
    assert [record.image.name for record in dataset.records] == ["b.png"]
    (skipped,) = dataset.skipped
    for text in ("a.png", str(tmp_path / "x.json"), "annotation 815: "):
        assert text in str(skipped)
    assert re.search(message, skipped.reason)


STUDIO = "0a1b2c3d-"  # as Label Studio numbers files


@pytest.mark.parametrize("name", [f"{STUDIO}a.png", f"images\\{STUDIO}a.png", f"../../upload/3/{STUDIO}a.png"])
def test_label_studios_number_before_a_name_is_left_off(tmp_path, save_image, read, cells, name):
    write(tmp_path / "result.json", content(annotation([SQUARE]), files=[name]))
    save_image(tmp_path / "photographs/a.png")
    assert len(cells(read(tmp_path))) == 1


def test_an_image_with_label_studios_number_comes_first_and_two_numbers_of_one_name_are_refused(tmp_path, save_image):
    files = (f"{STUDIO}a.png", f"{STUDIO}b.png", f"ff{STUDIO[2:]}b.png", "c.png")
    for name in ("a.png", f"{STUDIO}a.png", "b.png", "c.png"):
        save_image(tmp_path / name)
    write(tmp_path / "result.json", content(annotation([SQUARE]), files=files))
    index = index_dataset(tmp_path)
    assert [record.image.name for record in index.train] == [f"{STUDIO}a.png", "c.png"]
    assert [skipped.reason.split(" in ")[0] for skipped in index.skipped if skipped.is_error] == ["listed 2 times"]


def broken(change) -> dict:
    files = ("a.png", "b.png")
    what = content(annotation([SQUARE]), annotation([RIGHT], image=2), files=files)
    change(what)
    return what


WRONG_IMAGES = {
    "missing": (lambda c: c["images"][0].update(file_name="z.png"), "image 1: the image z.png is not in the data set"),
    "no name": (lambda c: c["images"][0].pop("file_name"), "image 1: file_name is missing"),
    "another size": (
        lambda c: c["images"][0].update(height=50),
        "is for a.png of 64 x 50 pixels, and the file has 64 x 48",
    ),
    "size of text": (lambda c: c["images"][0].update(height="x"), "its height and width are 'x' and 64, not numbers"),
    "unknown category": (lambda c: c["annotations"][0].update(category_id=9), "annotation 7: category 9 is not among"),
    "unlisted image": (
        lambda c: c["annotations"][0].update(image_id=9),
        "annotation 7 is of image 9, which the file does",
    ),
    "twice": (lambda c: c["images"].append({"id": 3, "file_name": "a.png"}), "listed 2 times in"),
}


@pytest.mark.parametrize("kind", WRONG_IMAGES)
def test_a_wrong_image_is_named_and_left_out(tmp_path, kind, save_image, read):
    change, message = WRONG_IMAGES[kind]
    write(tmp_path / "x.json", broken(change))
    for name in ("a.png", "b.png"):
        save_image(tmp_path / name)
    errors = [str(skipped) for skipped in read(tmp_path).skipped if skipped.is_error]
    assert len(errors) == 1
    assert message in errors[0]
    assert str(tmp_path / "x.json") in errors[0]


WRONG_FILES = {
    "category without name": (lambda c: c["categories"][0].pop("name"), "category 1 has no name"),
    "empty name": (lambda c: c["categories"][0].update(name=" "), "category 1 has no name"),
    "category without id": (lambda c: c["categories"][0].pop("id"), "category 0 has no id"),
    "two names": (lambda c: c["categories"].append({"id": 1, "name": "b"}), "two categories have the id 1: cell and b"),
    "no categories": (lambda c: c.pop("categories"), "no categories"),
    "annotations": (lambda c: c.update(annotations={}), "annotations is not a list"),
    "an annotation": (lambda c: c["annotations"].append(5), "annotations: entry 2 is not an object"),
    "images": (lambda c: c.update(images="a.png"), "images is not a list"),
    "two images of an id": (lambda c: c["images"][1].update(id=1), "two images have the id 1"),
    "image without id": (lambda c: c["images"][1].pop("id"), "image b.png has no id"),
}


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_what_is_wrong_with_a_whole_file_ends_with_its_name(tmp_path, message, kind, save_image):
    change, reason = WRONG_FILES[kind]
    write(tmp_path / "x.json", broken(change))
    save_image(tmp_path / "a.png")
    assert f"{tmp_path / 'x.json'}: {reason}" in message(tmp_path)


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.99])
def test_json_that_is_cut_short_is_bad_json_of_that_file(tmp_path, fraction, save_image):
    text = json.dumps(content(annotation([SQUARE])))
    (tmp_path / "x.json").write_text(text[: int(fraction * len(text))])
    save_image(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"x\.json: not valid JSON"):
        index_dataset(tmp_path)


def test_an_image_that_two_files_list_is_on_neither_side(tmp_path, save_image):
    for side in ("train", "val"):
        write(tmp_path / f"{side}.json", content(annotation([SQUARE], image=1), files=("a.png", f"{side}.png")))
        save_image(tmp_path / f"{side}.png")
    save_image(tmp_path / "a.png")
    index = index_dataset(tmp_path)
    assert [record.image.name for record in [*index.train, *index.val]] == ["train.png", "val.png"]
    assert str(index.skipped[0]).startswith(f"{tmp_path / 'a.png'}: listed 2 times in {tmp_path / 'train.json'} and")


def test_two_images_of_one_name_are_told_apart_by_their_folders_or_refused(tmp_path, save_image):
    for folder in "uv":
        save_image(tmp_path / folder / "a.png")
    save_image(tmp_path / "b.png")
    write(tmp_path / "x.json", content(annotation([SQUARE]), files=("v/a.png", "b.png")))
    assert index_dataset(tmp_path).train[0].image == tmp_path / "v/a.png"
    write(tmp_path / "x.json", content(annotation([SQUARE]), files=("a.png", "b.png")))
    assert "image 1: the image a.png could be" in str(index_dataset(tmp_path).skipped[0])


@pytest.mark.parametrize("extra", [{"info": {"description": PREDICTIONS}}, {"score": 0.9}])
def test_predictions_are_no_annotations(tmp_path, extra):
    """predict.py leaves a coco.json in its --out, which may lie in the folder of the data."""
    for side in ("train", "val"):
        for kind, grey in (("image", 90), ("mask", 0)):
            path = tmp_path / side / kind / "Blast" / "a.png"
            path.parent.mkdir(parents=True)
            Image.new("L", (20, 20), grey).save(path)
    annotation = {"image_id": 1, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]}
    annotation |= {"score": extra["score"]} if "score" in extra else {}
    content = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [annotation]}
    content |= {"categories": [{"id": 1, "name": "Blast"}]}
    content |= {"info": extra["info"]} if "info" in extra else {}
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions/coco.json").write_text(json.dumps(content), encoding="utf-8")
    index = index_dataset(tmp_path)
    assert index.format == "class-folders"
    assert [(item.path.name, item.is_error) for item in index.skipped] == [("coco.json", False)]


BARE = {
    "captions": [{"id": 1, "image_id": 1, "caption": "a smear"}],
    "boxes": [annotation([], bbox=[1, 2, 3, 4])],
    "keypoints": [annotation([SQUARE], keypoints=[1, 2, 2])],
}


@pytest.mark.parametrize("kind", BARE)
def test_files_without_outlines_are_not_used_beside_one_that_has_some(tmp_path, save_image, kind):
    write(tmp_path / f"{kind}.json", content(*BARE[kind]))
    write(tmp_path / "instances.json", content(annotation([SQUARE])))
    save_image(tmp_path / "a.png")
    index = index_dataset(tmp_path)
    assert [record.source.name for record in index.train] == ["instances.json"]
    reason = "has captions, boxes or keypoints, which are not read"
    assert index.skipped == [(tmp_path / f"{kind}.json", reason, False)]


def test_files_without_outlines_are_read_alone_and_so_is_a_list_of_negatives(tmp_path, save_image, message):
    for name in "ab":
        save_image(tmp_path / f"{name}.png")
    write(tmp_path / "x.json", content(*BARE["boxes"]))
    assert "annotation 7: has no segmentation, only a box; outline the cell" in message(tmp_path)
    write(tmp_path / "y.json", content(files=["b.png"]))
    for annotations in (BARE["keypoints"], [annotation([SQUARE])]):
        write(tmp_path / "x.json", content(*annotations))
        assert sorted(len(record.shapes) for record in index_dataset(tmp_path).train) == [0, 1]


def test_boxes_that_are_mostly_elsewhere_than_their_outlines_are_noted(tmp_path, save_image):
    right = [
        annotation([SQUARE], bbox=[10, 20, 10, 10]),
        annotation([SQUARE, [50, 20, 52, 20, 52, 30]], bbox=[10, 20, 42, 10]),
    ]
    doubtful = [[0, 0, 0, 0], [float("nan"), 1, 1, 1], [10**400, 1, 1, 1], "box", [1, 2], None]
    others = [annotation([[1, 1, 9, 1, 9, 5 + i]], bbox=box) for i, box in enumerate(doubtful)]
    wrong = [annotation([[30, 1, 40, 1, 40, 5 + i]], bbox=[5, 1, 10, 5]) | {"id": 50 + i} for i in range(3)]
    save_image(tmp_path / "a.png")
    write(tmp_path / "x.json", content(*right, *others, *wrong[:2]))
    assert index_dataset(tmp_path).notes == ()
    write(tmp_path / "x.json", content(*right, *others, *wrong))
    (note,) = index_dataset(tmp_path).notes
    assert note.startswith(
        f"{tmp_path / 'x.json'}: 3 of 5 boxes (bbox) are elsewhere than their outlines, first that of"
    )
    assert "annotation 50; the outlines are used" in note
