"""Data sets of synthetic smears on disk: folders, formats, what image k shows."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data.formats import index_dataset
from data.formats.lisc import GREY_CODES
from data.inspect.background_control import background_control
from data.opening import open_dataset
from data.records import DataError
from data.synthetic.dataset import cached_default, plan, resolve_data, write_dataset
from data.synthetic.smear import STAINS
from maskrcnn.config import LISC_CLASSES

SMALL = (200, 160)


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_the_background_says_nothing_about_the_class(tmp_path):
    """The control that is run on real data, too, is within 5 points of chance."""
    write_dataset(tmp_path, images=120, seed=1, layout="wbc", size=(180, 144), progress=False)
    dataset = open_dataset(tmp_path, progress=False).dataset
    result = background_control(dataset.samples, range(len(dataset)))
    assert result.images == 120
    assert abs(result.accuracy - result.chance) < 0.05
    backgrounds = np.array([np.percentile(sample.image.numpy(), 90, axis=(0, 1)) for sample in dataset.samples])
    assert (backgrounds.std(axis=0) > 4).all()  # though the stains differ
    assert len(STAINS) == 4


def test_zoom_makes_cells_and_their_masks_larger(tmp_path):
    areas = {}
    for zoom in (1.0, 2.0):
        write_dataset(tmp_path / str(zoom), images=5, size=(400, 320), zoom=(zoom, zoom), progress=False)
        dataset = open_dataset(tmp_path / str(zoom), progress=False).dataset
        assert all(sample.image.shape == (320, 400, 3) for sample in dataset.samples)
        assert set(np.unique(Image.open(dataset.records[0].annotation))) <= {
            0,
            50,
            75,
            100,
            125,
            150,
            175,
            200,
            225,
            255,
        }
        areas[zoom] = np.mean([float(s.regions[0].mask.sum()) for s in dataset.samples])
    assert 2.5 < areas[2.0] / areas[1.0] < 5


def test_a_set_in_the_tutorials_layout_is_found_and_read(tmp_path):
    write_dataset(tmp_path / "set", images=20, layout="wbc", size=SMALL, progress=False)
    index = index_dataset(tmp_path / "set")
    assert Counter(record.label for record in index.train) == dict.fromkeys(map(str.title, LISC_CLASSES), 3)
    assert Counter(record.label for record in index.val) == dict.fromkeys(map(str.title, LISC_CLASSES), 1)
    assert (tmp_path / "set/train/image/Basophil/Basophil_001.png").is_file()
    dataset = open_dataset(tmp_path / "set", progress=False).dataset
    assert not dataset.skipped
    for i, record in enumerate(dataset.records):
        image, target = dataset[i]
        assert image.shape == (3, SMALL[1], SMALL[0])
        assert set(target["labels"].tolist()) == {LISC_CLASSES.index(record.label) + 1}
        codes = set(np.unique(np.array(Image.open(record.annotation)))) - {0}
        assert codes == set(GREY_CODES[record.label])


def test_a_set_in_liscs_layout_has_its_names_formats_and_mask_sizes(tmp_path):
    write_dataset(tmp_path, images=40, layout="lisc", size=SMALL, progress=False)
    assert {p.name for p in (tmp_path / "Main Dataset").iterdir()} == {"Baso", "eosi", "lymp", "mixt", "mono", "neut"}
    index = index_dataset(tmp_path)
    labelled = index.train
    assert len(labelled) == 38
    assert len(index.unlabelled) == 2
    assert sum(record.label is None for record in labelled) == 2  # mixed
    for record in labelled:
        with Image.open(record.image) as image, Image.open(record.annotation) as mask:
            assert (image.format, mask.format, image.mode, mask.mode) == ("BMP", "BMP", "RGB", "L")
            assert image.size == SMALL
            assert mask.size == (SMALL[0] - 8, SMALL[1] - 8)
    assert not open_dataset(tmp_path, progress=False).skipped


def test_image_k_is_the_same_in_sets_of_any_size(tmp_path):
    for name, images, seed in (("few", 6, 1), ("many", 8, 1), ("again", 6, 1), ("other", 6, 2)):
        write_dataset(tmp_path / name, images=images, seed=seed, size=(128, 128), progress=False)
    few, many, again, other = (files(tmp_path / name) for name in ("few", "many", "again", "other"))
    assert few == again
    assert few.items() <= many.items()
    assert len(many) == 16
    assert few.keys() == other.keys()
    assert all(few[name] != other[name] for name in few)


def test_each_class_has_its_fraction_in_validation():
    planned = plan(250, "wbc", 0.2)
    for name in LISC_CLASSES:
        numbers = [p.number for p in planned if p.content == name and p.val]
        assert numbers == list(range(2, 51, 5))
    assert not any(p.val for p in plan(50, "wbc", 0.0))


@given(st.integers(1, 300), st.sampled_from(["wbc", "lisc"]), st.floats(0, 0.99))
def test_validation_images_are_evenly_spread_at_any_fraction(images, layout, fraction):
    """Of any run of n images of one class, n times the fraction are for validation, give or take one."""
    planned = plan(images, layout, fraction)
    for content in {p.content for p in planned}:
        of_class = [p for p in planned if p.content == content]
        assert [p.number for p in of_class] == list(range(1, len(of_class) + 1))
        for start in range(0, len(of_class), 7):
            rest = of_class[start:]
            assert abs(sum(p.val for p in rest) - len(rest) * fraction) <= 1 + 1e-6


def test_only_a_complete_default_set_is_cached(tmp_path, monkeypatch, capsys):
    def write(root, images):
        assert images == 240
        write_dataset(root, images=1, size=(128, 128), progress=False)
        if interrupted:
            raise KeyboardInterrupt

    monkeypatch.setattr("data.synthetic.dataset.write_dataset", write)
    interrupted = True
    with pytest.raises(KeyboardInterrupt):
        cached_default(tmp_path / "set")
    assert not (tmp_path / "set").exists()
    interrupted = False
    assert cached_default(tmp_path / "set") == tmp_path / "set"
    assert str(tmp_path / "set") in capsys.readouterr().out
    written = files(tmp_path)
    assert len(written) == 2
    assert cached_default(tmp_path / "set") == tmp_path / "set"  # and not written again
    assert files(tmp_path) == written
    assert not capsys.readouterr().out


def test_data_is_a_folder_or_the_word_synthetic(tmp_path, monkeypatch):
    assert resolve_data("some/folder") == Path("some/folder")
    monkeypatch.setattr("data.synthetic.dataset.DEFAULT_DIR", tmp_path)
    assert resolve_data("synthetic") == tmp_path


def test_a_bar_shows_the_progress_of_drawing_on_a_terminal(tmp_path, capsys, monkeypatch):
    for name, terminal, progress in (("a", False, True), ("b", True, False), ("c", True, True)):
        monkeypatch.setattr("sys.stderr.isatty", lambda terminal=terminal: terminal)
        write_dataset(tmp_path / name, images=1, size=(128, 128), progress=progress)
        assert ("drawing" in capsys.readouterr().err) == (terminal and progress)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": 0}, "images must be"),
        ({"layout": "coco"}, "layout wbc or lisc"),
        ({"val_fraction": 1.0}, "val_fraction"),
        ({"size": (64, 64)}, "128 pixels"),
        ({"zoom": (1.0, 5.0)}, "128 pixels"),
        ({"zoom": (2.0, 1.0)}, "low before high"),
        ({"zoom": (0.0, 1.0)}, "above 0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        write_dataset(tmp_path / "set", **{"images": 1, **options})
    assert not (tmp_path / "set").exists()


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(DataError, match="already exists"):
        write_dataset(tmp_path, images=1)
    with pytest.raises(DataError, match="already exists"):
        write_dataset(tmp_path / "mine.txt", images=1)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
