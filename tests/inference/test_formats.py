"""Label maps, COCO's JSON, QuPath's and ImageJ's outlines, opened by the programs that others use."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import roifile
import shapely
import tifffile
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from skimage.measure import regionprops

from data.formats import index_dataset
from data.records import Shape
from data.shapes import rasterize
from maskrcnn.inference.export import Found, Options, PredictionWriter, rle_encode
from maskrcnn.inference.export.coco import category_numbers
from maskrcnn.inference.export.pictures import write_geojson, write_labels
from maskrcnn.inference.objects import Objects
from maskrcnn.regions import Patch, Region
from maskrcnn.weights.coco import COCO_CLASSES

NAMES = ("a", "b c", "d")
EVERYTHING = ("labels", "geojson", "imagej", "coco", "coco-polygons", "coco-results")
SIZE = (60, 70)


def shapes():
    """A disc, a ring, two parts, and a pinched mask."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    disc = (rows - 15) ** 2 + (columns - 15) ** 2 < 100
    distance = (rows - 40) ** 2 + (columns - 40) ** 2
    ring = (distance < 150) & (distance > 30)
    parts = (np.abs(rows - 10) < 4) & ((np.abs(columns - 40) < 4) | (np.abs(columns - 60) < 4))
    pinched = np.zeros(SIZE, bool)
    pinched[50:53, 5:8] = [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    return [disc, ring, parts, pinched]


@pytest.fixture
def written(tmp_path, found_of):
    """Two images, the second one without a cell."""
    writer = PredictionWriter(tmp_path, NAMES, options=Options(EVERYTHING))
    given = [(mask, k % 3 + 1, 0.9 - k / 10) for k, mask in enumerate(shapes())]
    writer.add(Path("images/one.png"), Path("one"), found_of(*given, size=SIZE, names=NAMES))
    writer.add(Path("images/none.png"), Path("none"), found_of(names=NAMES))
    writer.finish()
    return tmp_path


def test_a_label_map_numbers_the_cells_as_the_table_does(written):
    with Image.open(written / "one_labels.png") as image:
        labels = np.asarray(image)
    assert labels.dtype == np.uint16
    assert [region.area for region in regionprops(labels.astype(int))] == [mask.sum() for mask in shapes()]
    for number, mask in enumerate(shapes(), start=1):
        assert np.array_equal(labels == number, mask)
    with Image.open(written / "one_preview.png") as image:
        preview = np.asarray(image.convert("RGB"))
    assert np.array_equal(preview.any(axis=-1), labels > 0)
    with Image.open(written / "none_labels.png") as image:
        assert not np.asarray(image).any()


def test_more_cells_than_16_bits_can_number_are_in_a_tiff_of_32(tmp_path, monkeypatch):
    monkeypatch.setattr("maskrcnn.inference.export.pictures.preview", lambda labels: labels.astype(np.uint8))
    count, side = 65_536, 257
    patches = [Patch(k // side, k % side, np.ones((1, 1), np.float32)) for k in range(count)]
    objects = Objects((side, side), torch.zeros(count, 4), torch.ones(count).long(), torch.ones(count), patches)
    write_labels(Found(np.zeros((side, side, 3), np.uint8), objects, NAMES), tmp_path / "crowd")
    labels = tifffile.imread(tmp_path / "crowd_labels.tif")
    assert labels.dtype.itemsize == 4
    assert np.array_equal(labels.ravel()[:count], np.arange(1, count + 1))
    assert not (tmp_path / "crowd_labels.png").exists()


@pytest.mark.parametrize("name", ["coco.json", "coco_polygons.json"])
def test_pycocotools_reads_the_very_masks(written, name):
    coco = COCO(str(written / name))
    assert [image["file_name"] for image in coco.imgs.values()] == ["images/one.png", "images/none.png"]
    assert [coco.cats[k]["name"] for k in (1, 2, 3)] == list(NAMES)
    assert len(coco.anns) == 4
    for annotation, mask in zip(coco.anns.values(), shapes()):
        assert np.array_equal(coco.annToMask(annotation), mask)
        assert annotation["area"] == mask.sum()
        assert annotation["bbox"] == coco_mask.toBbox(coco_mask.encode(np.asfortranarray(mask, np.uint8))).tolist()
    polygons = [isinstance(annotation["segmentation"], list) for annotation in coco.anns.values()]
    assert polygons == [name == "coco_polygons.json" and k in (0, 2, 3) for k in range(4)]


def test_results_are_loaded_and_evaluated_by_pycocotools(written, capsys):
    coco = COCO(str(written / "coco.json"))
    results = coco.loadRes(str(written / "coco_results.json"))
    evaluation = COCOeval(coco, results, "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)
    for found, mask in zip(results.anns.values(), shapes(), strict=True):
        assert found["area"] == mask.sum()  # and not that of the box
    assert [round(found["score"], 6) for found in results.anns.values()] == [0.9, 0.8, 0.7, 0.6]


def test_qupath_gets_valid_polygons_with_classes_and_measures(written):
    content = json.loads((written / "one.geojson").read_text())
    assert content["type"] == "FeatureCollection"
    for k, (feature, mask) in enumerate(zip(content["features"], shapes(), strict=True)):
        geometry = shapely.geometry.shape(feature["geometry"])
        assert geometry.is_valid
        assert geometry.area == mask.sum()
        parts = feature["geometry"]["coordinates"]
        rings = parts if feature["geometry"]["type"] == "Polygon" else [ring for part in parts for ring in part]
        assert all(ring[0] == ring[-1] for ring in rings)
        properties = feature["properties"]
        assert (feature["type"], properties["objectType"]) == ("Feature", "annotation")
        assert properties["classification"]["name"] == NAMES[k % 3]
        assert len(properties["classification"]["color"]) == 3
        assert properties["measurements"]["area_px"] == mask.sum()
        assert properties["measurements"]["score"] == round(0.9 - k / 10, 6)
    kinds = [feature["geometry"]["type"] for feature in content["features"]]
    assert kinds == ["Polygon", "Polygon", "MultiPolygon", "MultiPolygon"]
    assert json.loads((written / "none.geojson").read_text())["features"] == []


def test_qupath_gets_micrometres_if_the_size_of_a_pixel_is_known(found_of, tmp_path):
    write_geojson(replace(found_of((3, 5, 13, 25, 1, 0.9)), pixel_size=0.5), tmp_path / "one")
    measured = json.loads((tmp_path / "one.geojson").read_text())["features"][0]["properties"]["measurements"]
    assert (measured["area_px"], measured["area_um2"]) == (200, 50)
    assert measured["diameter_um"] == pytest.approx(measured["diameter_px"] / 2, abs=1e-3)
    assert measured["perimeter_um"] == pytest.approx(measured["perimeter_px"] / 2, abs=1e-3)


def test_imagej_gets_the_very_outlines(written):
    regions = roifile.roiread(written / "one_RoiSet.zip")
    assert [region.name for region in regions] == ["a-1", "b c-2", "d-3", "a-4"]
    for region, mask in zip(regions, shapes(), strict=True):
        rings = tuple(ring.astype(float) for ring in region.coordinates(multi=True))
        again = rasterize(Shape("", (rings,), None, ""), SIZE)
        assert np.array_equal(again.mask, mask[again.slices])
        assert again.mask.sum() == mask.sum()


def test_the_readers_of_data_sets_take_the_outlines_beside_the_images(written, tmp_path_factory, photograph):
    for ending, format_name in ((".geojson", "geojson"), ("_RoiSet.zip", "imagej")):
        folder = tmp_path_factory.mktemp(format_name)
        photograph(folder / "one.png")
        (folder / f"one{ending}").write_bytes((written / f"one{ending}").read_bytes())
        index = index_dataset(folder)
        assert index.format == format_name
        assert [shape.label for shape in index.train[0].shapes] == ["a", "b c", "d", "a"]


def test_without_roifile_the_format_of_imagej_is_refused_at_once(tmp_path, predict, photograph, monkeypatch):
    monkeypatch.setitem(sys.modules, "roifile", None)
    image = photograph(tmp_path / "a.png")
    code, _, errors = predict(image, "--out", tmp_path / "out", "--formats", "imagej")
    assert code == 2
    assert "pip install roifile" in errors
    assert not (tmp_path / "out").exists()


def test_an_unknown_format_is_named_with_those_that_there_are(tmp_path, predict):
    code, _, errors = predict(tmp_path, "--formats", "labels,pascal")
    assert code == 2
    assert "no format pascal" in errors
    assert "geojson" in errors


def encoded(mask):
    return rle_encode(Region(0, 0, mask), mask.shape)


@pytest.mark.parametrize("shape", [(7, 5), (1, 1), (40, 3), (300, 200)])
@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_are_those_of_pycocotools(seed, shape):
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < rng.random()
    expected = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert encoded(mask) == {"size": list(shape), "counts": expected["counts"].decode()}


@pytest.mark.parametrize("fill", [False, True])
def test_run_lengths_of_empty_and_full_masks(fill):
    mask = np.full((300, 200), fill)
    assert encoded(mask)["counts"] == coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    half = mask.copy()
    half[:, :100] = not fill
    assert np.array_equal(coco_mask.decode(encoded(half)).astype(bool), half)


@given(arrays(np.bool_, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_any_mask_survives_its_run_lengths(mask):
    assert np.array_equal(coco_mask.decode(encoded(mask)).astype(bool), mask)


def test_cocos_classes_have_the_numbers_of_cocos_own_files():
    """Which leave some out: a stop sign is the twelfth and has 13."""
    assert category_numbers(NAMES) == [1, 2, 3]
    numbers = dict(zip(COCO_CLASSES, category_numbers(COCO_CLASSES), strict=True))
    assert [numbers[name] for name in ("person", "fire hydrant", "stop sign", "couch", "toothbrush")] == [
        1,
        11,
        13,
        63,
        90,
    ]
