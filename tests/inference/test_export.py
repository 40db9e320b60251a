"""Tables and COCO's JSON, read back by others."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from maskrcnn.inference.colours import ColourRange, colour_quantiles
from maskrcnn.inference.export import PredictionWriter, check_writable, color_splash, rle_encode

NAMES = ("a", "b", "c")


def blobs(seed: int, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((height, width)) < rng.random()


@pytest.mark.parametrize("shape", [(7, 5), (1, 1), (40, 3), (300, 200)])
@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_are_those_of_pycocotools(seed, shape):
    mask = blobs(seed, *shape)
    expected = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert rle_encode(mask) == {"size": list(shape), "counts": expected["counts"].decode()}


@pytest.mark.parametrize("fill", [False, True])
def test_run_lengths_of_empty_and_full_masks(fill):
    mask = np.full((300, 200), fill)
    assert rle_encode(mask)["counts"] == coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    half = mask.copy()
    half[:, :100] = not fill
    assert np.array_equal(coco_mask.decode(rle_encode(half)).astype(bool), half)


def prediction(*found, size=(30, 40)) -> dict[str, torch.Tensor]:
    """found: (x1, y1, x2, y2, label, score), each filled."""
    masks = torch.zeros(len(found), 1, *size)
    for mask, (x1, y1, x2, y2, *_) in zip(masks, found):
        mask[:, y1:y2, x1:x2] = 0.9
    rows = torch.tensor(found, dtype=torch.float32).reshape(-1, 6)
    return {"boxes": rows[:, :4], "labels": rows[:, 4].long(), "scores": rows[:, 5], "masks": masks}


@pytest.fixture
def written(tmp_path):
    results = PredictionWriter(NAMES)
    results.add("one.png", prediction((5, 5, 15, 15, 1, 0.9), (0, 20, 10, 28, 3, 0.8)))
    results.add("none.png", prediction())
    results.add("two, three.png", prediction((5, 5, 25, 15, 1, 0.7), size=(50, 60)))
    results.write(tmp_path)
    return tmp_path


def test_one_row_per_cell(written):
    with open(written / "cells.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["cell"], row["class"], row["touches_border"]) for row in rows] == [
        ("one.png", "1", "a", "0"),
        ("one.png", "2", "c", "1"),
        ("two, three.png", "1", "a", "0"),
    ]
    assert [float(row["area"]) for row in rows] == [100, 80, 200]
    assert [float(rows[0][name]) for name in ("x1", "y1", "x2", "y2", "score")] == [5, 5, 15, 15, 0.9]
    assert float(rows[0]["equivalent_diameter"]) == pytest.approx((400 / np.pi) ** 0.5, abs=1e-3)


def test_the_differential_count(written):
    with open(written / "differential.csv", newline="", encoding="utf-8") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["one.png", "none.png", "two, three.png", "all"]
    assert [rows["all"][name] for name in ("cells", *NAMES)] == ["3", "2", "0", "1"]
    assert [rows["all"][f"{name}_percent"] for name in NAMES] == ["66.7", "0.0", "33.3"]
    assert [rows["none.png"][name] for name in ("cells", "a", "a_percent")] == ["0", "0", ""]
    assert [rows["one.png"][f"{name}_percent"] for name in NAMES] == ["50.0", "0.0", "50.0"]  # of this image's cells
    assert [rows["two, three.png"][f"{name}_percent"] for name in NAMES] == ["100.0", "0.0", "0.0"]


def test_colours_are_compared_with_those_of_training(tmp_path):
    known = ColourRange.of([torch.full((3, 4, 5), 0.5), torch.full((3, 4, 5), 0.52)])
    results = PredictionWriter(NAMES, known)
    results.add("usual.png", prediction(), colour_quantiles(torch.full((3, 30, 40), 0.5)))
    results.write(tmp_path)
    assert results.colour_warning() == ""
    assert not (tmp_path / "colours.png").exists()
    results.add("dark.png", prediction(), colour_quantiles(torch.full((3, 30, 40), 0.1)))
    assert tmp_path / "colours.png" in results.write(tmp_path)
    assert "1 of 2 images" in results.colour_warning()
    with open(tmp_path / "differential.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["colour_distance"] for row in rows] == ["0.0", "102.0", ""]  # 0.4 of 255


def test_coco_reads_its_json(written):
    coco = COCO(str(written / "coco.json"))
    assert len(coco.imgs) == 3
    assert [coco.cats[k]["name"] for k in (1, 2, 3)] == list(NAMES)
    annotation = coco.anns[2]
    assert annotation["bbox"] == [0, 20, 10, 8]
    mask = coco.annToMask(annotation)
    assert mask.shape == (30, 40)
    assert mask.sum() == annotation["area"] == 80
    assert mask[20:28, :10].all()
    json.loads((written / "coco.json").read_text())


def test_splash_is_grey_but_for_the_cells():
    image = torch.rand(3, 30, 40, generator=torch.Generator().manual_seed(0))
    found = prediction((5, 5, 15, 15, 1, 0.9), (20, 2, 30, 12, 2, 0.6))
    picture = color_splash(image, found["masks"])
    inside = found["masks"].amax(0)[0].numpy() > 0.5
    original = (image * 255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(picture[inside], original[inside])
    outside = picture[~inside].astype(int)
    assert (outside.max(axis=1) == outside.min(axis=1)).all()
    assert np.abs(outside[:, 0] - (original[~inside] @ [0.299, 0.587, 0.114])).max() <= 1
    assert color_splash(image, prediction()["masks"]).shape == (30, 40, 3)


@pytest.mark.parametrize(
    ("box", "touches"),
    [
        ((5, 5, 15, 15), "0"), ((1, 1, 39, 29), "0"),
        ((0, 5, 9, 15), "1"), ((5, 0, 15, 9), "1"), ((30, 5, 40, 15), "1"), ((5, 20, 15, 30), "1"),
    ],
)  # fmt: skip
def test_a_cell_touches_the_border_on_any_of_four_sides(tmp_path, box, touches):
    writer = PredictionWriter(NAMES)
    writer.add("one.png", prediction((*box, 1, 0.9)))
    writer.write(tmp_path)
    with open(tmp_path / "cells.csv", newline="", encoding="utf-8") as file:
        assert [row["touches_border"] for row in csv.DictReader(file)] == [touches]


def test_looking_whether_a_folder_can_be_written_creates_nothing(tmp_path, monkeypatch):
    check_writable(tmp_path / "a" / "b")
    monkeypatch.chdir(tmp_path)
    check_writable(Path("runs/new"))
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="choose another --out"):
        check_writable(tmp_path / "file" / "b")

    def refuse(*values, **options):  # as it is for everybody but root
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.mkdir", refuse)
    with pytest.raises(ValueError, match=r"new: cannot write to .* \(Permission denied\); choose another --out"):
        check_writable(tmp_path / "new")


@given(arrays(np.bool_, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_any_mask_survives_its_run_lengths(mask):
    assert np.array_equal(coco_mask.decode(rle_encode(mask)).astype(bool), mask)
