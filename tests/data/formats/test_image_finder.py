"""Which image an annotation file means: that of its own split and folder, or one whose name says where it is."""

import json
import unicodedata

import pytest

from data.formats import index_dataset
from data.formats.image_finder import ImageFinder


@pytest.fixture
def find(tmp_path, touch) -> ImageFinder:
    """Of images of one name in several folders."""
    for name in ("u/a.png", "u/deep/a.png", "v/u/a.png", "train/b.png", "val/b.png", "w/c.png", "w/c.tif", "w/B.jpg"):
        touch(tmp_path / name)
    for form in ("NFC", "NFD"):
        touch(tmp_path / unicodedata.normalize(form, f"é{form}.png"))
    return ImageFinder(tmp_path)


@pytest.mark.parametrize(
    ("name", "near", "expected"),
    [
        ("a.png", "u", "u/a.png"),
        ("a.png", "u/deep", "u/deep/a.png"),
        ("A.PNG", "v/u", "v/u/a.png"),
        ("v/u/a.png", "u", "v/u/a.png"),
        ("..\\deep\\a.png", "v", "u/deep/a.png"),
        ("/home/x/other/a.png", "u", "u/a.png"),
        ("w/c.tif", "", "w/c.tif"),
        ("https://x.org/w/c.tif?X-Amz=1&d=a.png", "", "w/c.tif"),
        ("w/b", "", "w/B.jpg"),
        ("b.bmp", "val", "val/b.png"),
        (unicodedata.normalize("NFD", "éNFC.png"), "", unicodedata.normalize("NFC", "éNFC.png")),
        (unicodedata.normalize("NFC", "éNFD.png"), "", unicodedata.normalize("NFD", "éNFD.png")),
    ],
)
def test_the_image_is_the_one_whose_folders_agree_or_the_nearest(tmp_path, find, name, near, expected):
    assert find(name, tmp_path / near) == tmp_path / expected


@pytest.mark.parametrize("side", ["train", "val"])
def test_of_images_as_near_the_one_in_the_folder_of_the_split_is_taken(tmp_path, find, side):
    assert find("b.png", tmp_path, side) == tmp_path / side / "b.png"


@pytest.mark.parametrize(("stem", "expected"), [("B", "w/B.jpg"), ("c.tif", "w/c.tif"), ("C.png", "w/c.png")])
def test_an_image_is_found_by_its_name_with_or_without_ending(tmp_path, find, stem, expected):
    assert find.knows(stem)
    assert find.by_stem(stem, tmp_path / "w") == tmp_path / expected


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (lambda find, root: find("z.png", root), "the image z.png is not in the data set"),
        (lambda find, root: find("", root), "is not in the data set"),
        (lambda find, root: find("u/", root), "is not in the data set"),
        (lambda find, root: find("c", root), r"could be .*c.png or .*c.tif"),
        (lambda find, root: find("c.bmp", root), r"could be .*c.png or .*c.tif"),
        (lambda find, root: find("c.jpg", root), "the image c.jpg is not in the data set"),  # others have that ending
        (lambda find, root: find("c.1", root), "the image c.1 is not in the data set"),
        (lambda find, root: find("b.png", root), r"could be .*train/b.png or .*val/b.png"),
        (lambda find, root: find.by_stem("c", root), r"could be .*c.png or .*c.tif"),
        (lambda find, root: find.by_stem("z", root), "the image z is not in the data set"),
    ],
)
def test_no_image_and_two_as_near_are_refused(tmp_path, find, search, message):
    with pytest.raises(ValueError, match=message):
        search(find, tmp_path)


@pytest.fixture
def find_in(tmp_path, touch):
    """(files, name, its folder, split, ...) -> the image that is found, from the folder of the data set."""

    def search(files: str, name: str, near: str = "", side: str | None = None) -> str:
        for file in files.split():
            touch(tmp_path / file)
        (tmp_path / near).mkdir(exist_ok=True)
        return str(ImageFinder(tmp_path)(name, tmp_path / near, side).relative_to(tmp_path))

    return search


@pytest.mark.parametrize(
    ("files", "name", "near", "side"),
    [
        ("val/images/1.png train/2.png", "1.png", "train", None),
        ("val/images/1.png train/2.png", "1.png", "annotations", "train"),
        ("val/1.png", "1.png", "annotations", "train"),
        ("train/1.png", "1.png", "val", None),
        ("train/1.png val/2.png", "1.png", "", "val"),
        ("images/val/1.png images/train/2.png", "images/train/1.png", "", None),
        ("cells_val/1.png cells_train/2.png", "1.png", "", "train"),
        ("val/1.png train/2.png", "/home/x/val/1.png", "train", None),
    ],
)
def test_an_image_of_another_split_is_not_taken(find_in, files, name, near, side):
    with pytest.raises(ValueError, match=r"is not in the split (train|val), only .*1\.png has that name; move it"):
        find_in(files, name, near, side)


@pytest.mark.parametrize(
    ("files", "name", "near"),
    [
        ("p1/2.png p1/2.json p1/1.json p2/1.png", "1.png", "p1"),  # 2.json shows that images are beside their files
        ("p1/2.png p1/all.json p2/1.png", "1.png", "p1"),
        ("p1/2.png p1/all.json p2/1.png", "/home/x/1.png", "p1"),
        ("p1/2.png p2/1.png", "p1/1.png", ""),
    ],
)
def test_an_image_of_another_folder_is_not_taken(find_in, files, name, near):
    with pytest.raises(ValueError, match=rf"{name} is not where it should be, only .*p2/1\.png has that name"):
        find_in(files, name, near)


@pytest.mark.parametrize(
    ("files", "name", "near", "side", "expected"),
    [
        ("images/1.png", "1.png", "annotations", "train", "images/1.png"),
        ("train/1.png val/1.png", "train/1.png", "", "val", "train/1.png"),  # the name says so
        ("train/1.png", "1.png", "", "val", "train/1.png"),  # all images are in train, and a val.json lists some
        ("images/1.png ann/1.json ann/1_overlay.png", "1.png", "ann", None, "images/1.png"),
        ("images/1.png export/view.png export/all.json", "../images/1.png", "export", None, "images/1.png"),
        ("p1/2.png p1/all.json p2/1.png", "/home/x/p2/1.png", "p1", None, "p2/1.png"),
        ("preview.png all.json deep/images/1.png", "1.png", "", None, "deep/images/1.png"),
        ("blood_test/1.png", "1.png", "", "train", "blood_test/1.png"),
        ("pictures/1.png", "/home/x/test/1.png", "", "train", "pictures/1.png"),
        ("v/2.png u/1.png", "../v/1.png", "u", None, "u/1.png"),  # moved with its annotation file
        ("u/A.png u/a.png", "a.png", "u", None, "u/a.png"),
        ("u/A.png u/a.png", "A.png", "u", None, "u/A.png"),
    ],
)
def test_an_image_elsewhere_is_found(find_in, files, name, near, side, expected):
    assert find_in(files, name, near, side) == expected


def test_a_list_of_images_is_of_the_split_in_its_name(tmp_path, touch):
    for name in ("images/train/1.png", "images/train/2.png", "images/val/1.png", "images/val/3.png"):
        touch(tmp_path / name)
    for side, names in (("train", "12"), ("val", "13")):
        images = {name: {"filename": f"{name}.png", "regions": []} for name in names}
        touch(tmp_path / f"annotations/via_{side}.json").write_text(json.dumps(images))
    index = index_dataset(tmp_path)
    assert [record.image.relative_to(tmp_path / "images").as_posix() for record in [*index.train, *index.val]] == [
        "train/1.png",
        "train/2.png",
        "val/1.png",
        "val/3.png",
    ]
    (tmp_path / "images/train/1.png").unlink()
    (skipped,) = index_dataset(tmp_path).skipped
    assert "the image 1.png is not in the split train, only" in str(skipped)
