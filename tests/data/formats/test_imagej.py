import zipfile
from pathlib import Path

import numpy as np
import pytest
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi, roiwrite

from data.formats import index_dataset
from data.records import DataError

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
def test_regions_are_read_as_imagej_saves_them(tmp_path, kind, ending, save_image, read, cells):
    region, area = REGIONS[kind]
    save(tmp_path / f"a{ending}", region)
    save_image(tmp_path / "a.tif")
    dataset = read(tmp_path)
    assert dataset.class_names == ("u",)
    assert cells(dataset).sum() == pytest.approx(area, rel=0.01)


def test_a_polygon_lies_where_imagej_shows_it(tmp_path, save_image, read, cells):
    save(tmp_path / "a.zip", of_type(ROI_TYPE.POLYGON), composite("v"))
    save_image(tmp_path / "a.tif")
    square, holed = cells(read(tmp_path))
    expected = np.zeros((48, 64), bool)
    expected[10:30, 10:30] = True
    assert (square == expected).all()
    expected[15:25, 15:25] = False
    assert (holed == expected).all()


def test_an_oval_of_fractions_of_a_pixel_is_not_rounded(tmp_path, save_image, read, cells):
    roi = box(ROI_TYPE.OVAL, "u", 10, 10, 21, 21)
    roi.version, roi.options = 227, ROI_OPTIONS.SUB_PIXEL_RESOLUTION
    roi.xd, roi.yd, roi.widthd, roi.heightd = 10.5, 10.5, 20.0, 20.0
    save(tmp_path / "a.zip", roi)
    save_image(tmp_path / "a.tif")
    assert index_dataset(tmp_path).train[0].shapes[0].polygons[0][0].mean(axis=0) == pytest.approx([20.5, 20.5])
    assert cells(read(tmp_path)).sum() == pytest.approx(np.pi * 10**2, rel=0.03)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("neutrophil-3", "neutrophil"),
        ("u 12", "u"),
        ("u_1", "u"),
        ("u", "u"),
        ("CD4-1", "CD4"),
        ("type1", "type1"),
        ("リンパ球-1", "リンパ球"),
        ("0001-0002", "cell"),
        ("0001-0123-0456", "cell"),
    ],
)
def test_the_class_is_the_name_without_its_number(tmp_path, name, label, save_image):
    save(tmp_path / "a.zip", of_type(ROI_TYPE.POLYGON, name))
    save_image(tmp_path / "a.tif")
    assert index_dataset(tmp_path).train[0].labels == [label]


def test_the_name_of_the_file_is_no_class(tmp_path, save_image):
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
def test_the_image_has_the_name_of_the_file(tmp_path, file, image, save_image):
    save(tmp_path / file, of_type(ROI_TYPE.POLYGON))
    save(tmp_path / "b.zip")  # no region: no cell
    for name in (image, "b.png", "c.png"):
        save_image(tmp_path / name)
    index = index_dataset(tmp_path)
    assert {record.image: len(record.shapes) for record in index.train} == {tmp_path / image: 1, tmp_path / "b.png": 0}
    (unlisted,) = index.skipped
    assert (unlisted.path.name, unlisted.is_error) == ("c.png", False)


def test_splits_are_kept(tmp_path, save_image):
    for side in ("train", "val"):
        save(tmp_path / side / "a.zip", of_type(ROI_TYPE.POLYGON))
        save_image(tmp_path / side / "a.png")
    index = index_dataset(tmp_path)
    assert [record.image.parent.name for record in (*index.train, *index.val)] == ["train", "val"]


WRONG = {
    "two points": (of_type(ROI_TYPE.POLYGON, points=SQUARE[:2]), "region 2 (u-1): a polygon of 2 points"),
    "NaN": (ImagejRoi.frompoints(SQUARE + 0.5, name="n"), "region 2 (n): a coordinate of a polygon is not a number"),
    "outside": (
        of_type(ROI_TYPE.POLYGON, points=SQUARE + 200),
        "a.png, region 2 (u-1): lies between (210, 210) and (230, 230), mostly outside",
    ),
}
WRONG["NaN"][0].subpixel_coordinates[0, 0] = np.nan


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_region_is_named_and_its_image_left_out(tmp_path, kind, save_image, read):
    wrong, message = WRONG[kind]
    save(tmp_path / "a.zip", of_type(ROI_TYPE.POLYGON, "v"), wrong)
    save(tmp_path / "b.zip", of_type(ROI_TYPE.POLYGON))
    for name in "ab":
        save_image(tmp_path / f"{name}.png")
    dataset = read(tmp_path)
    assert [record.image.name for record in dataset.records] == ["b.png"]
    (error,) = [str(skipped) for skipped in dataset.skipped if skipped.is_error]
    assert f"{tmp_path / 'a.zip'}: {message}" in error


LINES = {
    "freeline": of_type(ROI_TYPE.FREELINE),
    "polyline": of_type(ROI_TYPE.POLYLINE),
    "angle": of_type(ROI_TYPE.ANGLE, points=SQUARE[:3]),
    "point": of_type(ROI_TYPE.POINT, points=SQUARE[:1]),
    "text": box(ROI_TYPE.RECT, "note", 5, 5, 30, 30),
}
LINES["text"].subtype = ROI_SUBTYPE.TEXT


@pytest.mark.parametrize("kind", LINES)
def test_points_and_lines_among_outlines_are_left_out_and_counted(tmp_path, save_image, kind):
    save(tmp_path / "a.zip", of_type(ROI_TYPE.POLYGON, "v"), LINES[kind])
    save_image(tmp_path / "a.png")
    index = index_dataset(tmp_path)
    assert [record.labels for record in index.train] == [["v"]]
    (note,) = index.notes
    assert f"do not outline one cell: 1 {kind}; the first is region 2 (" in note


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"Iout"])
@pytest.mark.parametrize("ending", [".zip", ".roi"])
def test_a_damaged_file_is_named(tmp_path, content, ending, save_image):
    (tmp_path / f"a{ending}").write_bytes(content)
    save_image(tmp_path / "a.png")
    with pytest.raises(DataError) as error:
        index_dataset(tmp_path)
    assert f"{tmp_path / f'a{ending}'}: not ImageJ's regions" in str(error.value)


def test_a_second_file_of_an_image_and_one_without_image_are_named(tmp_path, save_image):
    for name in ("a.zip", "a_RoiSet.zip", "z.zip"):
        save(tmp_path / name, of_type(ROI_TYPE.POLYGON))
    save_image(tmp_path / "a.png")
    errors = [str(skipped) for skipped in index_dataset(tmp_path).skipped if skipped.is_error]
    assert errors == [
        f"{tmp_path / 'a_RoiSet.zip'}: is for a.png, as a.zip is; keep one of the two",
        f"{tmp_path / 'z.zip'}: the image z is not in the data set",
    ]


def test_a_zip_beside_images_of_other_names_is_no_data_set(tmp_path, message, save_image):
    save(tmp_path / "download.zip", of_type(ROI_TYPE.POLYGON))
    save_image(tmp_path / "a.png")
    assert "no known layout" in message(tmp_path)


def test_regions_of_one_name_are_each_read(tmp_path, save_image, read, cells):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("u.roi", box(ROI_TYPE.RECT, "u", 5, 7, 10, 10).tobytes())
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("u.roi", box(ROI_TYPE.RECT, "u", 30, 7, 20, 20).tobytes())
    save_image(tmp_path / "a.tif")
    assert [mask.sum() for mask in cells(read(tmp_path))] == [100, 400]
    assert index_dataset(tmp_path).notes == ()
