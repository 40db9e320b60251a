import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data import synthetic
from data.dataset import SmearDataset
from data.lisc import CLASSES, DataError, Field, find
from data.splits import CACHE, divide, fingerprints, open_splits

SIZE = (240, 192)


@pytest.fixture(scope="module")
def lisc(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lisc")
    synthetic.make(folder / "LISC Database", images=40, layout="lisc", size=SIZE, progress=False)
    return folder


@pytest.fixture
def copy(lisc, tmp_path) -> Path:
    shutil.copytree(lisc / "LISC Database", tmp_path / "copy")
    (tmp_path / "copy" / CACHE).unlink(missing_ok=True)
    return tmp_path / "copy"


def names(dataset) -> list[str]:
    return [f"{field.image.parent.name}/{field.image.name}" for field in dataset.fields]


def test_every_class_is_on_both_sides_in_proportion():
    labels = ["a"] * 50 + ["b"] * 10 + ["c"] * 2 + [None] * 5
    places = divide(labels, range(len(labels)), 5, seed=0)
    per_class = [
        Counter(place for place, own in zip(places, labels) if own == label) for label in ("a", "b", "c", None)
    ]
    assert [sorted(counts.values()) for counts in per_class] == [[10] * 5, [2] * 5, [1, 1], [1] * 5]
    # Rare classes do not all go to the same parts.
    assert max(Counter(places).values()) - min(Counter(places).values()) <= 1


def test_a_division_is_by_seed():
    labels = ["a"] * 20 + ["b"] * 20
    one = divide(labels, range(40), 5, seed=0)
    assert one == divide(labels, range(40), 5, seed=0)
    assert one != divide(labels, range(40), 5, seed=1)


def test_a_group_is_never_divided():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 30, 100).tolist()
    labels = ["ab"[group % 2] for group in groups]
    for seed in range(5):
        places = divide(labels, groups, 4, seed)
        assert all(len({place for place, own in zip(places, groups) if own == group}) == 1 for group in groups)
        sizes = Counter(places)
        assert max(sizes.values()) - min(sizes.values()) <= 8  # near equal, as far as groups of about 3 let them be


def test_lisc_is_divided_by_class(lisc):
    splits = open_splits(lisc, progress=False)
    assert not set(names(splits.train)) & set(names(splits.val))
    found = find(lisc)
    assert len(splits.train) + len(splits.val) == len(found.train)
    of_val = Counter(field.label for field in splits.val.fields)
    assert set(CLASSES) <= set(of_val)
    assert all(1 <= of_val[label] <= 2 for label in CLASSES)  # a fifth of 7 or 8
    assert names(open_splits(lisc, progress=False).val) == names(splits.val)
    assert names(open_splits(lisc, seed=1, progress=False).val) != names(splits.val)


def test_folds_show_every_field_once(lisc):
    parts = [names(open_splits(lisc, folds=4, fold=k, progress=False).val) for k in range(4)]
    shown = [name for part in parts for name in part]
    assert sorted(shown) == sorted(set(shown))
    assert len(shown) == len(find(lisc).train)
    for fold in (-1, 4):
        with pytest.raises(ValueError, match="fold"):
            open_splits(lisc, folds=4, fold=fold)


def test_fields_of_basophils_have_no_nucleus_which_is_no_fault_of_theirs(lisc):
    """A fifth of all fields, more than a run would shrug off if they were bad."""
    splits = open_splits(lisc, part="nucleus", strict=True, progress=False)
    assert len(splits.skipped) >= 7
    shown = Counter(field.label for field in splits.train.fields + splits.val.fields)
    assert set(shown) & set(CLASSES) == set(CLASSES) - {"basophil"}


def test_repeated_fields_stay_together_and_are_remembered(copy):
    images = copy / "Main Dataset"
    masks = copy / "Ground Truth Segmentation"
    for k in (90, 91):  # the same field again, once shifted by rolling it; its mask may stay
        for folder, name in ((images / "neut", "{}.bmp"), (masks / "neut/areaforexpert1", "{}_expert.bmp")):
            pixels = np.asarray(Image.open(folder / name.format(1)))
            Image.fromarray(np.roll(pixels, 8 * (k - 90), axis=1)).save(folder / name.format(k))
    for seed in range(4):
        splits = open_splits(copy, seed=seed, progress=False)
        sides = [{f"neut/{k}.bmp" for k in (1, 90, 91)} & set(names(side)) for side in (splits.train, splits.val)]
        assert sorted(map(len, sides)) == [0, 3]
        assert not splits.straddling
    remembered = json.loads((copy / CACHE).read_text())
    (copy / CACHE).write_text(json.dumps({**remembered, "groups": [0] * len(remembered["groups"])}))
    with pytest.raises(DataError, match="to validate on"):  # the cache is believed as long as the pictures are the same
        open_splits(copy, progress=False)
    Image.fromarray(np.zeros((SIZE[1], SIZE[0], 3), np.uint8)).save(images / "mono" / "1.bmp")
    assert len(set(open_splits(copy, progress=False).groups)) > 30


def test_a_damaged_cache_is_made_again(copy):
    (copy / CACHE).write_text("not what it should be")
    groups = open_splits(copy, progress=False).groups
    assert json.loads((copy / CACHE).read_text())["groups"]
    assert len(set(groups)) == len(groups)


def test_a_split_of_the_datas_own_is_kept_and_its_repeats_are_named(tmp_path):
    synthetic.make(tmp_path, images=20, layout="wbc", size=SIZE, progress=False)
    splits = open_splits(tmp_path, progress=False)
    found = find(tmp_path)
    assert (splits.train.fields, splits.val.fields) == (found.train, found.val)
    assert not splits.straddling
    known, copied = found.train[0], found.val[-1]
    copied.image.write_bytes(known.image.read_bytes())
    assert open_splits(tmp_path, progress=False).straddling == [copied]
    assert not open_splits(tmp_path, folds=4, progress=False).straddling


def test_undivided_all_fields_are_there_to_evaluate_on_even_a_single_one(tmp_path):
    synthetic.make(tmp_path, images=1, layout="wbc", size=SIZE, progress=False, val_fraction=0)
    splits = open_splits(tmp_path, progress=False, undivided=True, to_train=False)
    assert (len(splits.train), len(splits.val)) == (0, 1)
    with pytest.raises(DataError, match="add images"):
        open_splits(tmp_path, progress=False)


def test_a_folder_with_val_alone_is_enough_to_evaluate_on_and_not_to_train_on(tmp_path):
    synthetic.make(tmp_path, images=20, layout="wbc", size=SIZE, progress=False)
    shutil.rmtree(tmp_path / "train")
    splits = open_splits(tmp_path, progress=False, to_train=False)
    assert len(splits.train) == 0
    assert len(splits.val) > 0
    with pytest.raises(DataError, match="no image with a mask to train on"):
        open_splits(tmp_path, progress=False)


def test_fingerprints_are_those_of_the_pixels(copy):
    images = copy / "Main Dataset/neut"
    for number in (80, 81):
        Image.fromarray(np.full((SIZE[1], SIZE[0], 3), number, np.uint8)).save(images / f"{number}.bmp")
    shutil.copy(images / "80.bmp", images / "82.bmp")
    fields = [
        Field(images / f"{n}.bmp", sorted(copy.rglob("neut/*/1_expert.bmp"))[0], "neutrophil") for n in (80, 81, 82)
    ]
    names = fingerprints(SmearDataset(fields, progress=False))
    assert names[0] == names[2] != names[1]


def test_a_few_bad_files_are_left_out_and_many_or_any_when_strict_are_an_error(copy):
    folder = copy / "Main Dataset/lymp"
    files = sorted(folder.iterdir())
    files[0].write_bytes(b"")
    files[1].unlink()  # its mask is alone then
    splits = open_splits(copy, progress=False)
    assert {item.path.name for item in splits.skipped} == {files[0].name, f"{files[1].stem}_expert.bmp"}
    with pytest.raises(DataError, match="2 files cannot be used") as error:
        open_splits(copy, strict=True, progress=False)
    assert str(files[0]) in str(error.value)
    for file in files[2:]:
        file.write_bytes(b"no picture")
    with pytest.raises(DataError, match="are no accident"):
        open_splits(copy, progress=False)
