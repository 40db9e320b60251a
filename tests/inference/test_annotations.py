"""Predict, correct, train again: the data set of --annotations, corrected as CVAT would, in the reader of train.py."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from data.opening import open_dataset

ROOT = Path(__file__).parents[2]
LISC = ["basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil"]


@pytest.fixture
def smears(tmp_path, photograph):
    """Of two patients, whose images have the same names; one lies on its side, as its tag says."""
    for k, name in enumerate(("p1/1.png", "p1/2.png", "p2/1.png", "p2/sub/3.bmp")):
        photograph(tmp_path / "smears" / name, k)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(tmp_path / "smears/p1/1.png").save(tmp_path / "smears/p2/4.jpg", exif=exif, quality=95)
    return tmp_path / "smears"


def test_what_was_predicted_and_corrected_is_what_train_py_reads(smears, tmp_path, predict):
    folder = tmp_path / "corrected"
    code, said, errors = predict(smears, "--out", tmp_path / "out", "--annotations", folder)
    assert code == 0, errors
    assert str(folder) in said
    path = folder / "annotations/instances.json"
    content = json.loads(path.read_text())
    assert [category["name"] for category in content["categories"]] == LISC
    assert {annotation["iscrowd"] for annotation in content["annotations"]} == {0}
    assert "info" not in content
    assert not any("score" in annotation for annotation in content["annotations"])
    first, second, third, *_ = content["annotations"]
    first["category_id"] = 3
    content["annotations"].remove(second)
    third["segmentation"] = [[1, 2, 11, 2, 11, 12, 1, 12]]
    new = {"id": 999, "image_id": 1, "category_id": 4, "iscrowd": 0, "segmentation": [[60, 5, 80, 5, 80, 20, 60, 20]]}
    content["annotations"].append({**new, "bbox": [60, 5, 20, 15], "area": 300})
    path.write_text(json.dumps(content))
    command = [sys.executable, "-m", "data", "check", folder, "--strict"]
    result = subprocess.run(
        list(map(str, command)),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    images = open_dataset(folder, progress=False)
    assert list(images.dataset.class_names) == LISC
    assert images.skipped == []
    assert len(images.dataset) == 5
    samples = {record.image.name: sample for record, sample in zip(images.dataset.records, images.dataset.samples)}
    assert sorted(samples) == ["p1_1.png", "p1_2.png", "p2_1.png", "p2_4.png", "p2_sub_3.bmp"]
    assert sorted(samples["p1_1.png"].labels.tolist()) == [3, 4]
    corrected = {tuple(region.box): int(region.mask.sum()) for region in samples["p1_2.png"].regions}
    assert corrected[(1, 2, 11, 12)] == 100
    assert samples["p2_4.png"].size == (90, 70)


def test_nothing_is_lost_on_the_way_to_the_annotations(smears, tmp_path, predict, photograph):
    """The masks are the very ones of coco.json, and the copies the very images."""
    photograph(smears / "p1_1.png", 9)  # what the copy of p1/1.png is called
    predict(smears, "--out", tmp_path / "out", "--annotations", tmp_path / "new")
    ours = COCO(str(tmp_path / "out/coco.json"))
    theirs = COCO(str(tmp_path / "new/annotations/instances.json"))
    assert len(ours.anns) == len(theirs.anns) == 12
    for k, annotation in ours.anns.items():
        assert np.array_equal(ours.annToMask(annotation), theirs.annToMask(theirs.anns[k]))
    for k, image in ours.imgs.items():
        copy = tmp_path / "new/images" / theirs.imgs[k]["file_name"]
        if copy.name != "p2_4.png":
            assert copy.read_bytes() == Path(image["file_name"]).read_bytes()
    with Image.open(tmp_path / "new/images/p2_4.png") as upright:
        assert (upright.format, upright.size, upright.getexif()) == ("PNG", (70, 90), {})


def test_corrections_are_never_overwritten(smears, tmp_path, predict):
    folder, out = tmp_path / "new", tmp_path / "out"
    assert predict(smears / "p1/1.png", "--out", out, "--annotations", folder)[0] == 0
    path = folder / "annotations/instances.json"
    assert predict(smears, "--out", out, "--annotations", folder, "--skip-existing")[0] == 0  # nobody has touched them
    assert len(json.loads(path.read_text())["images"]) == 5
    path.write_text(path.read_text().replace("basophil", "lymphoblast"))
    before = path.read_bytes()
    for option in ("--skip-existing", "--overwrite"):
        code, _, errors = predict(smears, "--out", out, "--annotations", folder, option)
        assert code == 2
        assert "corrections would be lost" in errors
    code, _, errors = predict(smears, "--out", tmp_path / "other", "--annotations", folder)
    assert code == 2
    assert "already exists" in errors
    assert path.read_bytes() == before


def test_an_image_whose_copy_fails_is_not_in_the_data_set(smears, tmp_path, predict):
    (smears / "p1/bad.png").write_bytes((smears / "p1/1.png").read_bytes()[:200])
    assert predict(smears, "--out", tmp_path / "out", "--annotations", tmp_path / "new")[0] == 1
    content = json.loads((tmp_path / "new/annotations/instances.json").read_text())
    assert {image["file_name"] for image in content["images"]} == {
        path.name for path in (tmp_path / "new/images").iterdir()
    }
    assert len(content["images"]) == 5


def test_the_help_names_every_file_that_is_written(smears, tmp_path, predict):
    from maskrcnn.inference.export.writer import FORMATS
    from maskrcnn.inference.predict import EPILOG

    predict(smears, "--out", tmp_path / "out", "--formats", ",".join(FORMATS))
    for path in (tmp_path / "out").rglob("*.*"):
        assert re.sub(r"^\d", "NAME", path.name) in EPILOG
    assert all(f"{name}:" in EPILOG for name in FORMATS)
