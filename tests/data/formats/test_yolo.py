import unicodedata
from pathlib import Path

import pytest

from data.formats import index_dataset
from data.formats.yolo import read_names
from data.records import DataError

SQUARE = "0.25 0.25 0.5 0.25 0.5 0.75 0.25 0.75"  # columns 16 to 31, rows 12 to 35


def write(path: Path, text: str, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", **options)


@pytest.fixture
def make(save_image):
    """(root, lines) -> None: a data set of a.png with these lines, and b.png with a cell."""

    def make_set(root: Path, *lines: str, names: str = "names: [u, v]") -> None:
        write(root / "data.yaml", names)
        for name, text in (("a", "\n".join(lines)), ("b", f"0 {SQUARE}")):
            write(root / f"labels/train/{name}.txt", text)
            save_image(root / f"images/train/{name}.png")

    return make_set


def test_coordinates_are_fractions_of_width_and_height(tmp_path, make, read, cells):
    make(tmp_path, f"1 {SQUARE}", "", f"0.0 {SQUARE} 0.25 0.5  ")
    dataset = read(tmp_path)
    first, second = cells(dataset)
    assert (first.sum(), first[12:36, 16:32].all()) == (24 * 16, True)
    assert (first == second).all()
    assert dataset[0][1]["labels"].tolist() == [2, 1]


@pytest.mark.parametrize("text", ["", "\n", "\ufeff"])
def test_an_empty_file_is_of_an_image_without_a_cell_and_one_without_a_file_is_left_out(
    tmp_path, make, text, save_image, read
):
    make(tmp_path, text)
    save_image(tmp_path / "images/train/c.png")
    dataset = read(tmp_path)
    assert [len(sample.labels) for sample in dataset.samples] == [0, 1]
    (unlisted,) = dataset.skipped
    assert (unlisted.path.name, unlisted.is_error) == ("c.png", False)


@pytest.mark.parametrize(
    "layout",
    [
        "{kind}/{side}/{name}",
        "{side}/{kind}/{name}",
        "{kind}/{side}2017/{name}",
        "{kind}/{side}/deep/{name}",
    ],
)
def test_the_usual_folders_are_read_with_their_splits(tmp_path, layout, save_image):
    write(tmp_path / "data.yaml", "train: ../images/train\nnames: ['u']\n")
    images = [layout.format(kind="images", side=side, name="a.png") for side in ("train", "valid", "test")]
    for image in images:
        save_image(tmp_path / image)
        write(tmp_path / image.replace("images", "labels").replace("png", "txt"), f"0 {SQUARE}")
    index = index_dataset(tmp_path)
    assert index.format == "yolo"
    assert [record.image for record in (*index.train, *index.val, *index.test)] == [tmp_path / each for each in images]
    assert list(map(len, (index.train, index.val, index.test))) == [1, 1, 1]


NAMES = {
    "list in a line": "nc: 2\nnames: ['u v', \"w\"]  # the classes\nroboflow: x\n",
    "bare list in a line": "names: [u v, w]\n",
    "list of several lines": "names: ['u v',\n  'w']\nnc: 2\n",
    "block of dashes": "names:\n- u v\n- 'w'\nnc: 2\n",
    "block of indented dashes": "names:\n  - u v  # comment\n  - w\n",
    "block of numbers": 'path: x\n\n# Classes\nnames:  # here\n  0: u v\n\n  # and\n  1: "w"\n\ndownload: y\n',
    "block of numbers in another order": "names:\n  1: w\n  0: u v\n",
    "numbers in a line": "names: {0: u v, 1: 'w'}\n",
    "Windows": "names:\r\n  0: u v\r\n  1: w\r\nnc: 2\r\n",
}


@pytest.mark.parametrize("form", NAMES)
def test_names_are_read_however_the_yaml_writes_them(tmp_path, form):
    (tmp_path / "data.yaml").write_bytes(NAMES[form].encode())
    assert read_names(tmp_path, [], []) == {0: "u v", 1: "w"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [a, 'b, c', \"d's\"]", ["a", "b, c", "d's"]),
        ("names:\n- B-cell\n- T:cell", ["B-cell", "T:cell"]),
        ("names: []\n", []),
        ("nc: 1\n", []),
    ],
)
def test_names_with_signs_are_read(tmp_path, text, names):
    write(tmp_path / "data.yaml", text)
    assert list(read_names(tmp_path, [], []).values()) == names


@pytest.mark.parametrize("file", ["classes.txt", "labels/Classes.TXT", "obj.names"])
def test_names_are_lines_of_a_text_in_which_an_empty_one_counts(tmp_path, file):
    write(tmp_path / file, "\ufeffu\n\nv\n\n")
    assert read_names(tmp_path, [], []) == {0: "u", 2: "v"}


def test_names_match_in_both_forms_of_accents(tmp_path, save_image):
    write(tmp_path / "classes.txt", "u")
    write(tmp_path / "labels" / unicodedata.normalize("NFD", "é/ü.txt"), f"0 {SQUARE}")
    save_image(tmp_path / "images" / unicodedata.normalize("NFC", "é/ü.png"))
    assert len(index_dataset(tmp_path).train) == 1


WRONG = {
    "a box": ("0 .1 .1 .5 .5", "only a box"),
    "one point": ("0 .1 .1", "a polygon of 1 points"),
    "class alone": ("0", "a polygon of 0 points"),
    "odd": ("0 .1 .1 .5 .5 .6 .7 .8", "7 coordinates"),
    "NaN": ("0 .1 .1 .5 .5 .6 nan", "not a number"),
    "text": ("0 .1 .1 .5 .5 .6 x", "not a class and coordinates"),
    "name": ("u .1 .1 .5 .5 .6 .6", "not a class and coordinates"),
    "infinite class": ("inf .1 .1 .5 .5 .6 .6", "class inf is not among the names (u, v)"),
    "unknown class": ("2 .1 .1 .5 .5 .6 .6", "class 2 is not among the names (u, v)"),
    "half a class": ("0.5 .1 .1 .5 .5 .6 .6", "class 0.5 is not among"),
    "pixels": ("0 .1 .1 50 50 .1 50", "coordinates are fractions"),
    "outside": ("0 1.1 1.1 1.2 1.1 1.2 1.2", "outside the image of 64 x 48"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_line_is_named_and_its_image_left_out(tmp_path, make, kind, read):
    line, message = WRONG[kind]
    make(tmp_path, f"1 {SQUARE}", line)
    dataset = read(tmp_path)
    assert [record.image.name for record in dataset.records] == ["b.png"]
    (error,) = [str(skipped) for skipped in dataset.skipped if skipped.is_error]
    for text in (str(tmp_path / "labels/train/a.txt"), "line 2: ", message):
        assert text in error


@pytest.mark.parametrize("lines", [["0 .1 .1 .5 .5"], ["0 .1 .1 .5 .5", f"0 {SQUARE}"]])
@pytest.mark.parametrize("names", ["", "names: [u, v]"])
def test_of_boxes_alone_there_is_one_message_and_none_about_names(tmp_path, message, save_image, lines, names):
    write(tmp_path / "data.yaml", names)
    for number in range(12):
        write(tmp_path / f"labels/{number}.txt", "\n".join(lines) if number else "")
        save_image(tmp_path / f"images/{number}.png")
    text = message(tmp_path)
    assert f"{tmp_path / 'labels'}: the text files have only boxes; export polygons" in text
    assert len(text.splitlines()) == 2


def test_any_letter_case_of_text_files_is_read(tmp_path, save_image):
    write(tmp_path / "Data.YAML", "names: [u]")
    write(tmp_path / "labels/Classes.TXT", "")
    write(tmp_path / "labels/A.TXT", f"0 {SQUARE}")
    save_image(tmp_path / "images/a.png")
    index = index_dataset(tmp_path)
    assert [record.labels for record in index.train] == [["u"]]
    assert not index.skipped


@pytest.mark.parametrize("text", ["Drawn by two experts", "0 1 2 3", "a note of 1 line"])
def test_text_that_has_no_image_and_no_cells_is_no_annotation(tmp_path, make, save_image, text):
    make(tmp_path / "yolo")
    for name in ("labels/notes.txt", "labels/train/about.txt"):
        write(tmp_path / "yolo" / name, text)
    assert not [skipped for skipped in index_dataset(tmp_path / "yolo").skipped if skipped.is_error]
    for name in ("images/a.png", "labels/a.png"):
        save_image(tmp_path / "maps" / name)
    write(tmp_path / "maps/labels/about.txt", text)
    assert index_dataset(tmp_path / "maps").format == "label-maps"


def test_folders_whose_names_have_dots_are_told_apart(tmp_path, save_image):
    write(tmp_path / "classes.txt", "u")
    for version in ("v1.1", "v1.2"):
        write(tmp_path / f"labels/{version}/a.txt", f"0 {SQUARE}")
        save_image(tmp_path / f"images/{version}/a.png")
    assert len(index_dataset(tmp_path).train) == 2


def test_files_that_do_not_belong_together_are_named(tmp_path, make, save_image):
    make(tmp_path)
    (tmp_path / "images/train/a.png").rename(tmp_path / "images/train/c.png")
    save_image(tmp_path / "images/train/b.jpg")
    write(tmp_path / "labels/train/c.txt", f"0 {SQUARE}")
    errors = [str(skipped) for skipped in index_dataset(tmp_path).skipped if skipped.is_error]
    labels = tmp_path / "labels/train"
    assert [error.split(";")[0] for error in errors] == [
        f"{labels / 'a.txt'}: no image of that name in the folder images beside labels",
        f"{labels / 'b.txt'}: is for {tmp_path / 'images/train/b.jpg'} or {tmp_path / 'images/train/b.png'}",
    ]


@pytest.mark.parametrize("content", [b"\xff\xfe0\x00 \x00", b"\x89PNG\x00\x01"])
def test_binary_files_in_place_of_text_are_named(tmp_path, make, content):
    make(tmp_path)
    (tmp_path / "labels/train/a.txt").write_bytes(content)
    (error,) = [str(skipped) for skipped in index_dataset(tmp_path).skipped if skipped.is_error]
    assert str(tmp_path / "labels/train/a.txt") in error


@pytest.mark.parametrize("names", ["", "nc: 2", "names: 5", "names:"])
def test_without_names_of_classes_it_is_said_where_they_are_expected(tmp_path, make, names):
    make(tmp_path, names=names)
    with pytest.raises(DataError, match=r"expected them in data\.yaml or classes\.txt"):
        index_dataset(tmp_path)


@pytest.mark.parametrize("other", ["a.yaml", "classes.txt", "images/data.yaml"])
def test_of_files_that_name_other_classes_the_description_of_the_data_set_counts(tmp_path, make, other):
    make(tmp_path, f"1 {SQUARE}")
    write(tmp_path / other, "names: [x, y]" if "yaml" in other else "x\ny")
    index = index_dataset(tmp_path)
    assert [record.labels for record in index.train] == [["v"], ["u"]]
    used = tmp_path / "data.yaml"
    assert index.notes == (f"{tmp_path / other}: other names of classes than in {used}, whose names are used",)
    write(tmp_path / other, "names: [u, v]" if "yaml" in other else "u\nv")
    assert index_dataset(tmp_path).notes == ()


@pytest.mark.parametrize(
    "files",
    [
        {"labels/train/classes.txt": "u\nv", "labels/val/classes.txt": "v\nu"},
        {"a.yaml": "names: [u, v]", "b.yaml": "names: [u, v, w]"},
        {"data.yaml": "names: [u, v]", "dataset.yaml": "names: [v, u]"},
    ],
)
def test_files_that_differ_in_the_names_of_classes_are_refused(tmp_path, make, message, files):
    make(tmp_path)
    (tmp_path / "data.yaml").unlink()
    for name, text in files.items():
        write(tmp_path / name, text)
    first, second = (tmp_path / name for name in files)
    assert f"{first} and {second} differ in the names of the classes; keep one, as data.yaml in" in message(tmp_path)


def test_a_split_by_lists_is_noted_where_no_folder_tells_one(tmp_path, make, save_image):
    lists = "train: train.txt  # 2 images\nval: val.txt\nnames: [u]\n"
    for folder, side in (("all", ""), ("sides", "val")):
        write(tmp_path / folder / "data.yaml", lists)
        for name, place in (("a", "train" if side else ""), ("b", side)):
            write(tmp_path / folder / f"labels/{place}/{name}.txt", f"0 {SQUARE}")
            save_image(tmp_path / folder / f"images/{place}/{name}.png")
    (note,) = index_dataset(tmp_path / "all").notes
    assert note.startswith(f"{tmp_path / 'all/data.yaml'}: a split by lists is not read (train: train.txt); to keep it")
    assert index_dataset(tmp_path / "sides").notes == ()
