import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from data.cells import KINDS, draw_cell
from data.dataset import SmearDataset
from data.lisc import CLASSES, DataError, find
from data.smear import STAINS, draw_smear
from data.synthetic import make, plan

ROOT = Path(__file__).parents[2]
CODES = {"basophil": {50}, "eosinophil": {75, 100}, "lymphocyte": {125, 150}, "monocyte": {175, 200},
         "neutrophil": {225, 255}}  # fmt: skip
SMALL = (200, 160)


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", CLASSES)
def test_cells_have_the_measured_sizes_and_nuclei(name):
    kind = KINDS[name]
    for seed in range(30):
        cell = draw_cell(name, rng(seed))
        diameter = 2 * np.sqrt(cell.mask.sum() / np.pi)  # of a circle of the same area
        assert 0.95 * kind.diameter[0] < diameter < 1.05 * kind.diameter[1]
        share = (cell.nucleus & cell.mask).sum() / cell.mask.sum()
        assert kind.nucleus_share[0] - 0.01 < share < kind.nucleus_share[1] + 0.01
        assert not (cell.nucleus & ~cell.mask).any()
        assert ndimage.label(cell.mask, np.ones((3, 3)))[1] == 1
        assert np.array_equal(cell.mask, cell.cover >= 0.5)
        edge = np.concatenate([cell.cover[0], cell.cover[-1], cell.cover[:, 0], cell.cover[:, -1]])
        assert not edge.any()  # the window cuts nothing off
        assert cell.absorbance.shape == (*cell.mask.shape, 3)
        assert (cell.absorbance[cell.mask] > 0).all()


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


def test_the_background_says_nothing_about_the_class():
    """The stain's family, read from the mean colour of the background, is as frequent for each class as for another."""
    colours = {name: [] for name in CLASSES}
    for seed in range(30):
        for name in CLASSES:
            image, mask = draw_smear([name], rng(seed, CLASSES.index(name)), (128, 128))
            far = ndimage.distance_transform_edt(mask == 0) > 8
            colours[name].append(np.percentile(image[far], 90, axis=0))
    means = np.array([np.mean(colours[name], axis=0) for name in CLASSES])  # [5, 3]
    spread = np.std(np.concatenate(list(colours.values())), axis=0)
    assert (spread > 4).all()  # the families do differ
    assert (np.abs(means - means.mean(0)) < 3.5 * spread / np.sqrt(30)).all()
    assert len(STAINS) == 4


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


@pytest.mark.parametrize("options", [{"images": 0}, {"layout": "coco"}, {"size": (64, 64)}, {"val_fraction": 1.0}])
def test_senseless_arguments_are_refused(tmp_path, options):
    with pytest.raises(ValueError, match="images must be"):
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
    result = run(tmp_path / "set", "--images", 2, "--seed", 3, "--layout", "lisc")
    assert result.returncode == 0, result.stderr
    assert "drawing" in result.stderr
    assert str(tmp_path / "set") in result.stdout
    with Image.open(tmp_path / "set/Main Dataset/Baso/1.bmp") as image:
        assert image.size == (720, 576)
    again = run(tmp_path / "set")
    assert again.returncode == 2
    assert "is there already" in again.stderr
    assert "Traceback" not in again.stderr


def test_help_teaches_by_example():
    assert "python -m data.synthetic smears --images 240" in run("--help").stdout
