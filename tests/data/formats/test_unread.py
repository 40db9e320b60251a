"""What other tools write and no format reads is known by its beginning, and the remedy is told."""

import json

import pytest

from data.formats.unread import hint

CVAT = '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta><job/></meta>'
PASCAL = "<annotation>\n  <folder>x</folder>\n  <object><name>u</name><bndbox/></object>\n</annotation>"
CSV = '#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"a.png",1'
TASK = {"id": 1, "annotations": [{"id": 4, "completed_by": 1, "result": []}], "data": {"image": "/data/a.png"}}
SHORT_TASK = {"image": "/data/a.png", "id": 1, "label": [{"points": [[1, 2]], "polygonlabels": ["u"]}]}
KNOWN = {
    "annotations.xml": (CVAT, "export as COCO 1.0"),
    "a.xml": (PASCAL, "boxes; outline the cells"),
    "via_export.CSV": (CSV, "export the annotations as JSON"),
    "project-1.json": (json.dumps([TASK]), "is Label Studio's own JSON; export as COCO"),
    "project-2.json": (json.dumps([SHORT_TASK], indent=2), "is Label Studio's own JSON; export as COCO"),
    "empty.json": (" \n", "is empty; export it again"),
    "sa_1.json": (json.dumps({"image": {"image_id": 1}, "annotations": []}), "is of Segment Anything (SA-1B), whose"),
    "sam.json": (json.dumps([{"segmentation": {"size": [1, 2]}, "predicted_iou": 1}]), "is a list of masks without"),
    "results.json": (
        json.dumps([{"image_id": 1, "category_id": 1, "score": 1}], indent=1),
        "is a list of masks without",
    ),
    "a.txt": ("\n0 .1 .1 .5 .5 .1 .5\n", "put the images into a folder images, the texts into one labels"),
    "A.TXT": ("0 .1 .1 .5 .5\n", "has YOLO's boxes; export polygons"),
    "SegmentationObject/a.png": ("", "rename the folder to masks"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_files_of_a_known_tool_are_named_with_the_remedy(tmp_path, touch, name):
    text, remedy = KNOWN[name]
    files = [touch(tmp_path / "a.png"), touch(tmp_path / name)]
    files[1].write_text(text)
    told = hint(files)
    assert told.startswith(str(files[1].parent if "/" in name else files[1]))
    assert remedy in told


OTHERS = {
    "a.csv": "name,class\na,u",
    "a.xml": "<html/>",
    "a.json": json.dumps({"result": [1]}),
    "b.json": "[1, 2]",
    "a.txt": "A smear of 5 May",
    "b.txt": "0 .1 .1 .5 .5",  # no image of that name
    "masks/a.png": "",
}


def test_of_other_files_nothing_is_said(tmp_path, touch):
    files = [touch(tmp_path / "a.png"), *(touch(tmp_path / name) for name in OTHERS)]
    for file in files[1:]:
        file.write_text(OTHERS[str(file.relative_to(tmp_path))])
    assert hint(files) == ""
    assert hint([]) == ""
