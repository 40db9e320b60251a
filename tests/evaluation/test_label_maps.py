"""Label maps in files of every kind, and which of them belong together."""

import re

import numpy as np
import pytest
from PIL import Image

from maskrcnn.evaluation.label_maps import pair_label_maps, read_label_map

SMALL = np.array([[0, 1, 1], [0, 0, 2]])


@pytest.mark.parametrize(
    ("name", "kind", "highest"),
    [
        ("a.png", np.uint8, 255),
        ("a.png", np.uint16, 40_000),
        ("a.tif", np.uint16, 65_535),
        ("a.tiff", np.int32, 1_000_000),
        ("a.tif", np.float32, 70_000),
        ("a.npy", np.int64, 2**40),
        ("a.npy", np.uint32, 2**32 - 1),
        ("a.npy", np.float64, 3),
        ("a.NPY", bool, 1),
        ("an axis more.npy", np.int16, 9),
    ],
)
def test_numbers_are_read_as_they_are(tmp_path, name, kind, highest):
    numbers = np.where(SMALL == 2, highest, SMALL).astype(kind)
    if "npy" in name.lower():
        with (tmp_path / name).open("wb") as file:
            np.save(file, numbers[None] if "axis" in name else numbers)
    else:
        Image.fromarray(numbers).save(tmp_path / name)
    assert read_label_map(tmp_path / name).tolist() == numbers.astype(np.int64).tolist()


def test_a_palette_has_its_indices_and_grey_written_as_colour_its_grey(tmp_path):
    image = Image.fromarray(SMALL.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "palette.png")
    Image.fromarray(np.stack([SMALL.astype(np.uint8)] * 3, axis=-1)).save(tmp_path / "grey.png")
    for name in ("palette.png", "grey.png"):
        assert read_label_map(tmp_path / name).tolist() == SMALL.tolist()


BLOBS = np.kron([[1, 0, 1]], np.ones((4, 4))).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "numbers", "message"),
    [
        ("colour.png", np.eye(3, dtype=np.uint8)[SMALL] * 255, "colour picture"),
        ("lossy.jpg", SMALL.astype(np.uint8), "JPEG"),
        ("negative.npy", -SMALL, "negative numbers, down to -2"),
        ("negative.tif", (-SMALL).astype(np.int32), "negative numbers, down to -2"),
        ("fractions.npy", SMALL / 2, "not whole"),
        ("undefined.npy", np.where(SMALL == 2, np.nan, SMALL), "not whole"),
        ("huge.npy", np.array([[2**63, 1]], np.uint64), "numbers up to 9223372036854775808"),
        ("stack.npy", np.stack([SMALL, SMALL]), r"shape \(2, 2, 3\)"),
        ("text.npy", np.array([["a", "b"]]), "whole numbers"),
        ("objects.npy", np.array([[{}]]), "no array of numbers"),
        ("binary.png", BLOBS * 255, "black and white: only 255"),
        ("binary.npy", BLOBS > 0, "black and white: only 1"),
    ],
)
def test_what_is_no_label_map_is_refused_by_name(tmp_path, name, numbers, message):
    path = tmp_path / name
    if name.endswith("npy"):
        np.save(path, numbers)
    else:
        Image.fromarray(numbers).save(path)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}.*{message}"):
        read_label_map(path)


def test_one_object_is_a_label_map_also_with_a_fragment_and_so_is_nothing(tmp_path):
    one = np.zeros((12, 12), np.uint8)
    one[:8, :8] = one[10:, 10:] = 255
    for name, numbers in (("one.png", one), ("none.png", 0 * one), ("several.png", np.kron([[1, 0, 2]], BLOBS))):
        Image.fromarray(numbers.astype(np.uint8)).save(tmp_path / name)
        assert (read_label_map(tmp_path / name) == numbers).all()


def folder(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def names(root, *arguments):
    return [tuple(path.relative_to(root).as_posix() for path in pair) for pair in pair_label_maps(*arguments).pairs]


def test_files_belong_together_by_the_names_of_their_images(tmp_path):
    truth = folder(
        tmp_path / "t", "a.png", "b_masks.tif", "c-label.npy", "x/a_gt.png", "d_Seg.png", "notes.txt", ".a_masks.png"
    )
    folder(truth, "a_masks.png").joinpath("a.png").unlink()
    prediction = folder(
        tmp_path / "p",
        *("a_labels.png", "a_overlay.png", "a_splash.png", "b_cp_masks.png", "b_seg.npy"),
        *("c_labels.tif", "x/a_labels.png", "d_pred.png"),
    )
    assert names(tmp_path, truth, prediction) == [
        ("t/a_masks.png", "p/a_labels.png"),
        ("t/b_masks.tif", "p/b_cp_masks.png"),
        ("t/c-label.npy", "p/c_labels.tif"),
        ("t/d_Seg.png", "p/d_pred.png"),
        ("t/x/a_gt.png", "p/x/a_labels.png"),
    ]


def test_two_files_need_no_names_alike(tmp_path):
    folder(tmp_path, "t.png", "other.tif")
    assert names(tmp_path, tmp_path / "t.png", tmp_path / "other.tif") == [("t.png", "other.tif")]


@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        (["a.png", "b.png"], ["a_labels.png"], r"b\.png: no label map of that name in .*p$"),
        (["a.png"], ["a_labels.png", "c_labels.png"], r"c_labels\.png: no label map of that name in .*t$"),
        ([f"{k}.png" for k in range(9)], ["a.png"], r"\.\.\. 10 in all"),
        (["a_masks.png", "a_labels.png"], ["a.png"], r"a_masks\.png: of the same image as a_labels\.png"),
        (["a.txt"], ["a.png"], "t: no label map in this folder"),
        ([], ["a.png"], "t: no such file or folder"),
    ],
)
def test_a_file_without_a_partner_is_named(tmp_path, true, predicted, message):
    folder(tmp_path / "t", *true), folder(tmp_path / "p", *predicted)
    with pytest.raises(ValueError, match=message):
        pair_label_maps(tmp_path / "t", tmp_path / "p")


def test_a_folder_is_not_compared_with_a_file(tmp_path):
    folder(tmp_path, "a.png")
    with pytest.raises(ValueError, match="one is a folder, the other a file"):
        pair_label_maps(tmp_path, tmp_path / "a.png")
