"""Tables and COCO's JSON, read back by others."""

import csv
import json

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from maskrcnn.outputs import Results, encode, splash

NAMES = ("a", "b", "c")


def blobs(seed: int, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((height, width)) < rng.random()


@pytest.mark.parametrize("shape", [(7, 5), (1, 1), (40, 3), (300, 200)])
@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_are_those_of_pycocotools(seed, shape):
    mask = blobs(seed, *shape)
    expected = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert encode(mask) == {"size": list(shape), "counts": expected["counts"].decode()}


@pytest.mark.parametrize("fill", [False, True])
def test_run_lengths_of_empty_and_full_masks(fill):
    mask = np.full((300, 200), fill)
    assert encode(mask)["counts"] == coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    half = mask.copy()
    half[:, :100] = not fill
    assert np.array_equal(coco_mask.decode(encode(half)).astype(bool), half)


def prediction(*found, size=(30, 40)) -> dict[str, torch.Tensor]:
    """found: (x1, y1, x2, y2, label, score), each filled."""
    masks = torch.zeros(len(found), 1, *size)
    for mask, (x1, y1, x2, y2, *_) in zip(masks, found):
        mask[:, y1:y2, x1:x2] = 0.9
    rows = torch.tensor(found, dtype=torch.float32).reshape(-1, 6)
    return {"boxes": rows[:, :4], "labels": rows[:, 4].long(), "scores": rows[:, 5], "masks": masks}


@pytest.fixture
def written(tmp_path):
    results = Results(NAMES)
    results.add("one.png", prediction((5, 5, 15, 15, 1, 0.9), (0, 20, 10, 28, 3, 0.8)))
    results.add("none.png", prediction())
    results.add("two, three.png", prediction((5, 5, 25, 15, 1, 0.7), size=(50, 60)))
    results.write(tmp_path)
    return tmp_path


def test_a_row_a_cell(written):
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
    picture = splash(image, found["masks"])
    inside = found["masks"].amax(0)[0].numpy() > 0.5
    original = (image * 255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(picture[inside], original[inside])
    outside = picture[~inside].astype(int)
    assert (outside.max(axis=1) == outside.min(axis=1)).all()
    assert np.abs(outside[:, 0] - (original[~inside] @ [0.299, 0.587, 0.114])).max() <= 1
    assert splash(image, prediction()["masks"]).shape == (30, 40, 3)
