import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from scipy.spatial import ConvexHull

from data.cells import draw_cell
from data.dataset import SmearDataset
from data.leakage import measure
from data.lisc import CLASSES, DataError, find
from data.smear import SIZE, STAINS, _place_red, _place_white, draw_smear
from data.synthetic import make, plan

ROOT = Path(__file__).parents[2]
CODES = {"basophil": {50}, "eosinophil": {75, 100}, "lymphocyte": {125, 150}, "monocyte": {175, 200},
         "neutrophil": {225, 255}}  # fmt: skip
SMALL = (200, 160)


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


# Measured on LISC: the diameter in pixels and the nucleus' share of the area. The basophil's nucleus is hidden.
MEASURED = {
    "basophil": ((64, 90), (0, 1)),
    "eosinophil": ((76, 90), (0.35, 0.48)),
    "lymphocyte": ((53, 59), (0.78, 0.92)),
    "monocyte": ((76, 107), (0.50, 0.60)),
    "neutrophil": ((77, 94), (0.42, 0.48)),
}


@pytest.mark.parametrize("name", CLASSES)
def test_cells_have_the_measured_sizes_and_nuclei(name):
    (smallest, largest), (least, most) = MEASURED[name]
    diameters = []
    for seed in range(30):
        cell = draw_cell(name, rng(seed))
        diameters.append(2 * np.sqrt(cell.mask.sum() / np.pi))  # of a circle of the same area
        share = (cell.nucleus & cell.mask).sum() / cell.mask.sum()
        assert least - 0.01 < share < most + 0.01
        assert not (cell.nucleus & ~cell.mask).any()
        assert ndimage.label(cell.mask, np.ones((3, 3)))[1] == 1
        assert np.array_equal(cell.mask, cell.cover >= 0.5)
        edge = np.concatenate([cell.cover[0], cell.cover[-1], cell.cover[:, 0], cell.cover[:, -1]])
        assert not edge.any()  # the window cuts nothing off
        assert cell.absorbance.shape == (*cell.mask.shape, 3)
        assert (cell.absorbance[cell.mask] > 0).all()
    assert 0.95 * smallest < min(diameters) < max(diameters) < 1.05 * largest
    assert max(diameters) - min(diameters) > 0.6 * (largest - smallest)  # the whole range is drawn


def solidity(nucleus: np.ndarray) -> float:
    """Area over the area of the convex hull: 1 for a disc, less for a kidney, least for lobes."""
    return nucleus.sum() / ConvexHull(np.argwhere(nucleus)).volume


def test_nuclei_have_the_form_of_their_class():
    """Round in lymphocytes, dented in monocytes, lobed in granulocytes; and neutrophils have the more lobes."""
    solid = {name: np.mean([solidity(draw_cell(name, rng(seed)).nucleus) for seed in range(30)]) for name in CLASSES}
    assert solid["lymphocyte"] > 0.95
    assert solid["monocyte"] < solid["lymphocyte"] - 0.05
    assert solid["eosinophil"] < solid["lymphocyte"] - 0.05
    assert solid["neutrophil"] == min(solid.values())

    def lobes(name: str, seed: int) -> int:
        """What is left of the nucleus, where it is thick, without the filaments."""
        cell = draw_cell(name, rng(seed))
        thickness = ndimage.distance_transform_edt(cell.nucleus)
        return ndimage.label(thickness > 0.7 * thickness.max())[1]

    counts = {name: np.mean([lobes(name, seed) for seed in range(40)]) for name in ("eosinophil", "neutrophil")}
    assert counts["neutrophil"] > counts["eosinophil"] > 1.2


def test_the_look_of_each_class():
    """Seen on white: eosinophils redder than neutrophils, basophils darkest over all, neutrophils' cytoplasm palest of the
    granulocytes, basophils most and lymphocytes least ragged at the rim."""

    def seen(name: str, part: str) -> np.ndarray:
        colours = []
        for seed in range(20):
            cell = draw_cell(name, rng(seed))
            chosen = cell.mask & (cell.nucleus if part == "nucleus" else ~cell.nucleus) if part else cell.mask
            colours.append(255 * np.exp(-cell.absorbance[chosen]).mean(axis=0))
        return np.mean(colours, axis=0)

    cytoplasm = {name: seen(name, "cytoplasm") for name in CLASSES}
    redness = {name: colour[0] - colour[2] for name, colour in cytoplasm.items()}
    assert redness["eosinophil"] == max(redness.values())
    assert redness["eosinophil"] > redness["neutrophil"] + 20
    assert min(CLASSES, key=lambda name: seen(name, "").mean()) == "basophil"
    assert cytoplasm["neutrophil"].mean() > cytoplasm["eosinophil"].mean() > cytoplasm["basophil"].mean()
    # LISC's neutrophils: nucleus (160, 113, 207), cytoplasm (229, 198, 240).
    assert np.abs(seen("neutrophil", "nucleus") - (160, 113, 207)).max() < 20
    assert np.abs(cytoplasm["neutrophil"] - (229, 198, 240)).max() < 20

    def ragged(name: str) -> float:
        """How far the rim's length is above that of the same rim smoothed."""
        ratios = []
        for seed in range(20):
            mask = draw_cell(name, rng(seed)).mask.astype(float)
            smooth = ndimage.gaussian_filter(mask, 4)
            ratios.append(np.abs(mask - (smooth > 0.5)).sum() / np.sqrt(mask.sum()))
        return float(np.mean(ratios))

    assert ragged("basophil") == max(map(ragged, CLASSES))
    assert ragged("basophil") > 1.7 * ragged("lymphocyte")


@pytest.mark.parametrize("name", CLASSES)
def test_the_mask_is_where_the_cell_was_drawn(name):
    """The stain of a white cell takes away green. It takes less within the same mask moved by a few pixels."""
    green, cells = [], []
    for seed in range(8):
        image, mask = draw_smear([name], rng(seed), SMALL)
        green.append(image[8:-12, 8:-12, 1].astype(float))
        cells.append(mask > 0)

    def mean_green(dy: int, dx: int) -> float:
        moved = [np.roll(cell, (dy, dx), (0, 1))[8:-12, 8:-12] for cell in cells]
        return float(np.mean([picture[cell].mean() for picture, cell in zip(green, moved)]))

    inside = mean_green(0, 0)
    outside = np.mean([picture[~cell[8:-12, 8:-12]].mean() for picture, cell in zip(green, cells)])
    assert inside < outside - 30
    assert all(mean_green(dy, dx) > inside + 1 for dy, dx in ((6, 0), (-6, 0), (0, 6), (0, -6)))


def test_cells_of_a_field_are_told_apart_by_connected_components():
    for seed in range(12):
        labels = list(rng(seed).permutation(CLASSES)[:3])
        _, mask = draw_smear(labels, rng(seed), (400, 300))
        pieces, count = ndimage.label(mask, np.ones((3, 3)))
        found = [set(np.unique(mask[pieces == k])) for k in range(1, count + 1)]
        assert 1 <= count <= 3
        expected = [CODES[label] for label in labels[:count]]
        assert Counter(map(frozenset, found)) == Counter(map(frozenset, expected))


def test_the_background_says_nothing_about_the_class(tmp_path):
    """The control that is run on real data, too: within 5 points of chance."""
    make(tmp_path, images=200, seed=1, layout="wbc", size=(180, 144), progress=False)
    dataset = SmearDataset(find(tmp_path).train + find(tmp_path).val, progress=False)
    result = measure(dataset.samples, range(len(dataset)))
    assert result.fields == 200
    assert abs(result.accuracy - result.chance) < 0.05
    glass = np.array([np.percentile(sample.image.numpy(), 90, axis=(0, 1)) for sample in dataset.samples])
    assert (glass.std(axis=0) > 4).all()  # though the stains do differ
    assert len(STAINS) == 4


def test_red_cells_have_the_measured_size_and_number():
    """42.8 px across (5 to 95 %: 37 to 54), about 130 on a field of 720 x 576."""
    diameters, counts = [], []
    for seed in range(8):
        cells = _place_red(np.zeros((0, 3)), rng(seed), SIZE)
        inside = ((cells[:, :2] > 0) & (cells[:, :2] < SIZE)).all(axis=1)
        counts.append(inside.sum())
        diameters.extend(2 * cells[inside, 2])
    low, middle, high = np.percentile(diameters, (5, 50, 95))
    assert 40 < middle < 46
    assert 33 < low < 40
    assert 48 < high < 56
    assert 110 < np.mean(counts) < 150


def test_white_cells_touch_red_ones_and_the_border():
    touching, at_border = 0, 0
    for seed in range(40):
        random = rng(seed)
        places = _place_white([draw_cell("monocyte", random)], random, SIZE)
        x, y, radius = places[0]
        red = _place_red(places, random, SIZE)
        touching += (np.hypot(red[:, 0] - x, red[:, 1] - y) < red[:, 2] + 0.9 * radius).any()
        at_border += x < radius or y < radius or x > SIZE[0] - radius or y > SIZE[1] - radius
    assert touching > 12
    assert 2 <= at_border <= 15


def test_zoom_makes_cells_and_their_masks_larger(tmp_path):
    areas = {}
    for zoom in (1.0, 2.0):
        make(tmp_path / str(zoom), images=5, size=(400, 320), zoom=(zoom, zoom), progress=False)
        dataset = SmearDataset(find(tmp_path / str(zoom)).train, progress=False)
        assert all(sample.image.shape == (320, 400, 3) for sample in dataset.samples)
        assert set(np.unique(Image.open(dataset.fields[0].mask))) <= {0, 50, 75, 100, 125, 150, 175, 200, 225, 255}
        areas[zoom] = np.mean([float((s.ids == 1).sum()) for s in dataset.samples])
    assert 2.5 < areas[2.0] / areas[1.0] < 5


def test_red_cells_cover_what_they_do_in_lisc():
    """42 to 48 % of the area, roughly: pixels well below the brightest, outside the white cell."""
    shares = []
    for seed in range(6):
        image, mask = draw_smear(["lymphocyte"], rng(seed))
        green = ndimage.gaussian_filter(image[..., 1].astype(float), 2)[:-4, :-4]
        lamp = ndimage.percentile_filter(green[::8, ::8], 95, 15).repeat(8, 0).repeat(8, 1)[:572, :716]
        shares.append((green < lamp - 14)[mask[:-4, :-4] == 0].mean())
    assert 0.36 < np.mean(shares) < 0.54


def test_the_last_rows_and_columns_darken(tmp_path):
    image, _ = draw_smear(["monocyte"], rng(3), SMALL)
    grey = image.astype(float).mean(axis=2)
    assert grey[-1].mean() < grey[-2].mean() < grey[-5].mean()
    assert grey[:, -1].mean() < grey[:, -2].mean() < grey[:, -5].mean()


def test_a_set_in_the_tutorials_layout_is_found_and_read(tmp_path):
    make(tmp_path / "set", images=20, layout="wbc", size=SMALL, progress=False)
    splits = find(tmp_path / "set")
    assert Counter(f.label for f in splits.train) == dict.fromkeys(CLASSES, 3)
    assert Counter(f.label for f in splits.val) == dict.fromkeys(CLASSES, 1)
    assert (tmp_path / "set/train/image/Basophil/Basophil_001.png").is_file()
    dataset = SmearDataset(splits.train, progress=False)
    assert not dataset.skipped
    for i, field in enumerate(dataset.fields):
        image, target = dataset[i]
        assert image.shape == (3, SMALL[1], SMALL[0])
        assert set(target["labels"].tolist()) == {CLASSES.index(field.label) + 1}
        codes = set(np.unique(np.array(Image.open(field.mask)))) - {0}
        assert codes == CODES[field.label]


def test_a_set_in_liscs_layout_has_its_names_formats_and_mask_sizes(tmp_path):
    make(tmp_path, images=40, layout="lisc", size=SMALL, progress=False)
    assert {p.name for p in (tmp_path / "Main Dataset").iterdir()} == {"Baso", "eosi", "lymp", "mixt", "mono", "neut"}
    splits = find(tmp_path)
    labelled = splits.train
    assert len(labelled) == 38
    assert len(splits.unlabelled) == 2
    assert sum(field.label is None for field in labelled) == 2  # mixed
    for field in labelled:
        with Image.open(field.image) as image, Image.open(field.mask) as mask:
            assert (image.format, mask.format, image.mode, mask.mode) == ("BMP", "BMP", "RGB", "L")
            assert image.size == SMALL
            assert mask.size == (SMALL[0] - 8, SMALL[1] - 8)
    SmearDataset(labelled, progress=False)


def test_image_k_is_the_same_however_many_are_made(tmp_path):
    for name, images, seed in (("few", 6, 1), ("many", 8, 1), ("again", 6, 1), ("other", 6, 2)):
        make(tmp_path / name, images=images, seed=seed, size=(128, 128), progress=False)
    few, many, again, other = (files(tmp_path / name) for name in ("few", "many", "again", "other"))
    assert few == again
    assert few.items() <= many.items()
    assert len(many) == 16
    assert few.keys() == other.keys()
    assert all(few[name] != other[name] for name in few)


def test_each_class_has_its_share_in_validation():
    planned = plan(250, "wbc", 0.2)
    for name in CLASSES:
        numbers = [p.number for p in planned if p.kind == name and p.val]
        assert numbers == list(range(2, 51, 5))
    assert not any(p.val for p in plan(50, "wbc", 0.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": 0}, "images must be"),
        ({"layout": "coco"}, "layout lisc or wbc|layout wbc or lisc"),
        ({"val_fraction": 1.0}, "val_fraction"),
        ({"size": (64, 64)}, "128 pixels"),
        ({"zoom": (1.0, 5.0)}, "128 pixels"),
        ({"zoom": (2.0, 1.0)}, "low before high"),
        ({"zoom": (0.0, 1.0)}, "above 0"),
    ],
)
def test_senseless_arguments_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        make(tmp_path / "set", **{"images": 1, **options})
    assert not (tmp_path / "set").exists()


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(DataError, match="is there already"):
        make(tmp_path, images=1)
    with pytest.raises(DataError, match="is there already"):
        make(tmp_path / "mine.txt", images=1)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "data.synthetic", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


def test_the_command_line(tmp_path):
    result = run(tmp_path / "set", "--images", 2, "--seed", 3)
    assert result.returncode == 0, result.stderr
    assert "drawing" in result.stderr
    assert str(tmp_path / "set") in result.stdout
    with Image.open(tmp_path / "set/Main Dataset/Baso/1.bmp") as image:
        assert image.size == (720, 576)
    again = run(tmp_path / "set")
    assert again.returncode == 2
    assert "is there already" in again.stderr
    assert "Traceback" not in again.stderr


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").touch()
    result = run(tmp_path / "file" / "set", "--images", 1)
    assert result.returncode == 2
    assert str(tmp_path / "file") in result.stderr
    assert "Traceback" not in result.stderr


def test_help_teaches_by_example():
    assert "python -m data.synthetic lisc --images 250 --seed 1" in run("--help").stdout
