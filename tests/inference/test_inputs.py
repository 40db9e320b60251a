"""Which files of a folder are predicted on, and where the results go."""

import numpy as np
import pytest
from PIL import Image

from maskrcnn.inference.image_io import ImageError
from maskrcnn.inference.inputs import find_images


@pytest.fixture
def mask():
    """(path, mode) writes two cells: numbers of 16 bits, of a palette, of bits, in grey, or as a colour picture."""

    def write(path, mode="L", value=200):
        pixels = np.zeros((70, 90), np.uint8)
        pixels[10:30, 10:30], pixels[40:60, 50:80] = value, 1
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = pixels.astype(np.uint16) if mode == "I;16" else pixels
        image = Image.fromarray(picture) if mode in ("I;16", "L") else Image.fromarray(picture).convert(mode)
        image.save(path)

    return write


def names(found):
    return [image.file.name for image in found.images]


def test_of_a_folder_with_results_the_photographs_are_predicted_on_and_the_rest_is_told(tmp_path, predict, photograph):
    """Results beside the images, of this and of an earlier version, and the figures."""
    folder = tmp_path / "smears"
    for k, name in enumerate(("a", "b", "c")):
        photograph(folder / f"{name}.png", k)
    assert predict(folder, "--out", tmp_path)[0] == 0  # among others, below the folder of the results
    for path in tmp_path.glob("*.*"):
        path.rename(folder / path.name)
    photograph(folder / "colours.png")
    photograph(folder / "contact-sheet.png")
    code, said, errors = predict(folder, "--out", tmp_path / "again")
    assert code == 0
    assert "in 3 images" in said
    assert "left out 11 pictures of results" in errors
    assert "left out 3 masks or label maps" in errors
    assert "a_labels.png" in errors


def test_what_is_named_as_a_file_is_always_predicted_on(tmp_path, mask, photograph):
    mask(tmp_path / "masks/a.png")
    named = [photograph(tmp_path / "a_overlay.png"), tmp_path / "masks/a.png"]
    found = find_images(named, [])
    assert [image.file for image in found.images] == named
    assert found.left_out == []


@pytest.mark.parametrize(
    "path",
    [
        "train/mask/Neutrophil/a.png", "Ground Truth Segmentation/neut/areaforexpert1/a_expert.bmp", "a_masks.png",
        "a_cp_masks.tif", "sub/a-label.tif", "labels/a.png", "a_seg.png",
    ],
)  # fmt: skip
def test_masks_of_images_are_left_out_by_their_names(tmp_path, path, photograph):
    """Even if they look like photographs, as those of a camera's JPEG noise do."""
    photograph(tmp_path / "train/image/Neutrophil/a.png")
    photograph(tmp_path / path, 1)
    found = find_images([tmp_path], [])
    assert names(found) == ["a.png"]
    assert len(found.left_out) == 1
    assert "1 masks or label maps" in found.left_out[0]


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("1/masks/f00.png", "L"), ("1/masks/f00.png", "RGB"), ("f00.png", "I;16"), ("f00.tif", "P"), ("f00.png", "1"),
        ("f00.png", "L"),
    ],
)  # fmt: skip
def test_masks_of_other_names_are_known_by_their_areas(tmp_path, path, mode, mask, photograph):
    photograph(tmp_path / "1/images/1.png")
    mask(tmp_path / path, mode)
    found = find_images([tmp_path], [])
    assert names(found) == ["1.png"]
    assert "f00" in found.left_out[0]


def test_no_photograph_is_left_out_for_its_name_or_its_mode(tmp_path, photograph):
    """Of a slide's label, in grey, in 16 bits, in a folder that is called masks, or damaged."""
    noise = np.random.default_rng(0).integers(0, 2**16, (70, 90), np.uint16)
    for name in ("slide_label.png", "masks/smear.png", "annotations/7.png", "splash.png", "overlay.png"):
        photograph(tmp_path / name)
    Image.fromarray((noise >> 8).astype(np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray(noise).save(tmp_path / "deep.png")
    clipped = np.full((70, 90), 255, np.uint8)
    clipped[:4, :80] = np.arange(80)  # most of it is as bright as it gets
    Image.fromarray(clipped).save(tmp_path / "clipped.png")
    Image.new("RGB", (90, 70), "white").save(tmp_path / "empty.png")
    Image.open(tmp_path / "splash.png").quantize(200).save(tmp_path / "palette.gif")
    (tmp_path / "damaged_mask.png").write_bytes(b"\x89PNG\r\n")
    found = find_images([tmp_path], [])
    assert len(found.images) == 11
    assert found.left_out == []


def test_a_folder_without_a_photograph_says_what_is_in_it(tmp_path, mask):
    mask(tmp_path / "masks/a.png")
    with pytest.raises(ImageError, match=r"no photograph in this folder: 1 masks or label maps \(.*a\.png\)"):
        find_images([tmp_path], [])


def test_files_below_the_output_folders_are_told_and_no_input(tmp_path, photograph):
    photograph(tmp_path / "a.png")
    photograph(tmp_path / "corrected/images/a.png")
    found = find_images([tmp_path], [tmp_path / "out", tmp_path / "corrected"])
    assert names(found) == ["a.png"]
    assert found.left_out == [f"1 files in the output folder ({tmp_path / 'corrected/images/a.png'})"]


def test_results_are_named_after_the_images_and_with_their_endings_where_two_would_be_the_same(tmp_path, photograph):
    for path in ("x/a.png", "x/a.bmp", "x/b.png", "x/sub/a.png", "x/a.png.tif", "y/b.png", "y/c.png"):
        photograph(tmp_path / path)
    found = find_images([tmp_path / "x", tmp_path / "y", tmp_path / "x/a.png"], [])
    where = {str(image.file.relative_to(tmp_path)): str(image.output) for image in found.images}
    assert where == {
        "x/a.bmp": "a.bmp",
        "x/a.png": "x/a",  # a.png is also what x/a.png.tif would be called
        "x/a.png.tif": "a.png.tif",
        "x/b.png": "x/b",
        "x/sub/a.png": "sub/a",
        "y/b.png": "y/b",
        "y/c.png": "c",
    }


def test_two_images_of_one_name_are_both_written(tmp_path, predict, photograph):
    for k, name in enumerate(("a.png", "a.bmp", "b.png")):
        photograph(tmp_path / "in" / name, k)
    out = tmp_path / "out"
    assert predict(tmp_path / "in", "--out", out, "--formats", "overlay,geojson")[0] == 0
    pictures = {path.name for path in out.iterdir()} - {"predictions.json", "predictions.jsonl"}
    assert {name for name in pictures if not name.endswith(".csv")} == {
        f"{stem}{ending}" for stem in ("a.png", "a.bmp", "b") for ending in ("_overlay.png", ".geojson")
    }


def test_folders_of_one_name_that_cannot_be_told_apart_are_refused(tmp_path, photograph):
    for folder in ("p/x", "q/x"):
        photograph(tmp_path / folder / "a.png")
    with pytest.raises(ImageError, match=r"would be written as x/a.png_\*.*two values of --out"):
        find_images([tmp_path / "p/x", tmp_path / "q/x"], [])


def test_what_does_not_exist_is_named(tmp_path):
    with pytest.raises(ImageError, match="nothing: no such file or folder"):
        find_images([tmp_path / "nothing"], [])
    with pytest.raises(ImageError, match="no image in this folder"):
        find_images([tmp_path], [])
