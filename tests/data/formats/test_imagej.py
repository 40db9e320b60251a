from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi, roiwrite

from data.classes import choose_classes
from data.dataset import SmearDataset, read_dataset
from data.formats import index_dataset
from data.records import DataError

SIZE = (64, 48)  # width and height


def save_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE).save(path)


def read(root: Path) -> SmearDataset:
    """The training images; files left out by index and reader are in `skipped`."""
    index, names, _ = choose_classes(index_dataset(root), None)
    dataset = read_dataset(index.train, names, progress=False)
    dataset.skipped = [*index.skipped, *dataset.skipped]
    return dataset


def cells(dataset: SmearDataset, index: int = 0) -> np.ndarray:
    return dataset[index][1]["masks"].numpy().astype(bool)


SQUARE = np.array([[10, 10], [30, 10], [30, 30], [10, 30]])


def box(kind: ROI_TYPE, name: str, left: int, top: int, width: int, height: int) -> ImagejRoi:
    return ImagejRoi(roitype=kind, name=name, left=left, top=top, right=left + width, bottom=top + height)


def composite(name: str) -> ImagejRoi:
    """A square with a square hole, as a path of moves (0), lines (1) and ends (4)."""
    path = []
    for x, y, side in ((10, 10, 20), (15, 15, 10)):
        path += [0, x, y, 1, x + side, y, 1, x + side, y + side, 1, x, y + side, 4]
    roi = box(ROI_TYPE.RECT, name, 10, 10, 20, 20)
    roi.multi_coordinates = np.array(path, np.float32)
    roi.shape_roi_size = len(path)
    return roi


def of_type(kind: ROI_TYPE, name: str = "u-1", points=SQUARE) -> ImagejRoi:
    roi = ImagejRoi.frompoints(points, name=name)
    roi.roitype = kind
    return roi


def save(path: Path, *regions: ImagejRoi) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    roiwrite(path, regions[0] if path.suffix == ".roi" else regions, mode="w")


REGIONS = {
    "polygon": (of_type(ROI_TYPE.POLYGON), 400),
    "freehand": (of_type(ROI_TYPE.FREEHAND), 400),
    "traced": (of_type(ROI_TYPE.TRACED), 400),
    "fractions of a pixel": (ImagejRoi.frompoints(SQUARE + 0.75, name="u-1"), 400),
    "rectangle": (box(ROI_TYPE.RECT, "u-1", 5, 7, 40, 20), 800),
    "oval": (box(ROI_TYPE.OVAL, "u-1", 5, 7, 50, 30), np.pi * 25 * 15),
    "composite": (composite("u-1"), 400 - 100),
}


@pytest.mark.parametrize("ending", [".zip", ".roi"])
@pytest.mark.parametrize("kind", REGIONS)
def test_regions_are_read_as_imagej_saves_them(tmp_path, kind, ending):
    region, area = REGIONS[kind]
    save(tmp_path / f"a{ending}", region)
    save_image(tmp_path / "a.tif")
    dataset = read(tmp_path)
    assert dataset.class_names == ("u",)
    assert cells(dataset).sum() == pytest.approx(area, rel=0.01)


def test_a_polygon_lies_where_imagej_shows_it(tmp_path):
    save(tmp_path / "a.zip", of_type(ROI_TYPE.POLYGON), composite("v"))
    save_image(tmp_path / "a.tif")
    square, holed = cells(read(tmp_path))
    expected = np.zeros((48, 64), bool)
    expected[10:30, 10:30] = True
    assert (square == expected).all()
    expected[15:25, 15:25] = False
    assert (holed == expected).all()


def test_an_oval_of_fractions_of_a_pixel_is_not_rounded(tmp_path):
    roi = box(ROI_TYPE.OVAL, "u", 10, 10, 21, 21)
    roi.version, roi.options = 227, ROI_OPTIONS.SUB_PIXEL_RESOLUTION
    roi.xd, roi.yd, roi.widthd, roi.heightd = 10.5, 10.5, 20.0, 20.0
    save(tmp_path / "a.zip", roi)
    save_image(tmp_path / "a.tif")
    assert index_dataset(tmp_path).train[0].shapes[0].polygons[0][0].mean(axis=0) == pytest.approx([20.5, 20.5])
    assert cells(read(tmp_path)).sum() == pytest.approx(np.pi * 10**2, rel=0.03)


@pytest.mark.parametrize(
    ("name", "label"),
    [("neutrophil-3", "neutrophil"), ("u 12", "u"), ("u", "u"), ("0123-0456", "cell"), ("0001-0123-0456", "cell")],
)
def test_the_class_is_the_name_without_its_number(tmp_path, name, label):
    save(tmp_path / "a.zip", of_type(ROI_TYPE.POLYGON, name))
    save_image(tmp_path / "a.tif")
    assert index_dataset(tmp_path).train[0].labels == [label]


def test_the_name_of_the_file_is_no_class(tmp_path):
    save(tmp_path / "smear-1.roi", of_type(ROI_TYPE.POLYGON, "smear-1"))
    save_image(tmp_path / "smear-1.tif")
    assert index_dataset(tmp_path).train[0].labels == ["cell"]


@pytest.mark.parametrize(
    ("file", "image"),
    [
        ("a.zip", "a.tif"),
        ("a_RoiSet.zip", "a.tif"),
        ("RoiSet_a.zip", "a.tif"),
        ("a-rois.zip", "a.png"),
        ("a.tif.zip", "a.tif"),
        ("heroi.zip", "heroi.tif"),
        ("rois/A.zip", "images/a.tif"),
    ],
)
def test_the_image_has_the_name_of_the_file(tmp_path, file, image):
    save(tmp_path / file, of_type(ROI_TYPE.POLYGON))
    save(tmp_path / "b.zip")  # no region: no cell
    for name in (image, "b.png", "c.png"):
        save_image(tmp_path / name)
    index = index_dataset(tmp_path)
    assert {record.image: len(record.shapes) for record in index.train} == {tmp_path / image: 1, tmp_path / "b.png": 0}
    (unlisted,) = index.skipped
    assert (unlisted.path.name, unlisted.is_error) == ("c.png", False)


def test_splits_are_kept(tmp_path):
    for side in ("train", "val"):
        save(tmp_path / side / "a.zip", of_type(ROI_TYPE.POLYGON))
        save_image(tmp_path / side / "a.png")
    index = index_dataset(tmp_path)
    assert [record.image.parent.name for record in (*index.train, *index.val)] == ["train", "val"]


WRONG = {
    "line": (of_type(ROI_TYPE.FREELINE), "region 2 (u-1): a freeline is not the outline"),
    "point": (of_type(ROI_TYPE.POINT), "region 2 (u-1): a point is not the outline"),
    "two points": (of_type(ROI_TYPE.POLYGON, points=SQUARE[:2]), "region 2 (u-1): a polygon of 2 points"),
    "NaN": (ImagejRoi.frompoints(SQUARE + 0.5, name="n"), "region 2 (n): a coordinate of a polygon is not a number"),
    "outside": (of_type(ROI_TYPE.POLYGON, points=SQUARE + 200), "a.png, region 2 (u-1): lies at (220, 220), outside"),
}
WRONG["NaN"][0].subpixel_coordinates[0, 0] = np.nan


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_region_is_named_and_its_image_left_out(tmp_path, kind):
    wrong, message = WRONG[kind]
    save(tmp_path / "a.zip", of_type(ROI_TYPE.POLYGON, "v"), wrong)
    save(tmp_path / "b.zip", of_type(ROI_TYPE.POLYGON))
    for name in "ab":
        save_image(tmp_path / f"{name}.png")
    dataset = read(tmp_path)
    assert [record.image.name for record in dataset.records] == ["b.png"]
    (error,) = [str(skipped) for skipped in dataset.skipped if skipped.is_error]
    assert f"{tmp_path / 'a.zip'}: {message}" in error


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"Iout"])
@pytest.mark.parametrize("ending", [".zip", ".roi"])
def test_a_damaged_file_is_named(tmp_path, content, ending):
    (tmp_path / f"a{ending}").write_bytes(content)
    save_image(tmp_path / "a.png")
    with pytest.raises(DataError) as error:
        index_dataset(tmp_path)
    assert f"{tmp_path / f'a{ending}'}: not ImageJ's regions" in str(error.value)


def test_a_second_file_of_an_image_and_one_without_image_are_named(tmp_path):
    for name in ("a.zip", "a_RoiSet.zip", "z.zip"):
        save(tmp_path / name, of_type(ROI_TYPE.POLYGON))
    save_image(tmp_path / "a.png")
    errors = [str(skipped) for skipped in index_dataset(tmp_path).skipped if skipped.is_error]
    assert errors == [
        f"{tmp_path / 'a_RoiSet.zip'}: is for a.png, as a.zip is; keep one of the two",
        f"{tmp_path / 'z.zip'}: the image z is not in the data set",
    ]


def test_a_zip_beside_images_of_other_names_is_no_data_set(tmp_path, message):
    save(tmp_path / "download.zip", of_type(ROI_TYPE.POLYGON))
    save_image(tmp_path / "a.png")
    assert "no known layout" in message(tmp_path)
