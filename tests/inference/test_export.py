"""Tables, read back by pandas and compared with scikit-image and scipy."""

import csv
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from scipy import ndimage, stats
from skimage import measure

from maskrcnn.inference.colours import ColourRange, colour_quantiles
from maskrcnn.inference.export import Options, PredictionWriter, check_writable, color_splash
from maskrcnn.inference.export.tables import csv_text

NAMES = ("a", "b", "c")
FEW = Options(formats=())


@pytest.fixture
def written(tmp_path, found_of):
    """Three images of two folders, the second one without a cell."""
    writer = PredictionWriter(tmp_path, NAMES, options=Options(("coco",), pixel_size=0.5))
    writer.add(Path("x/one.png"), Path("one"), found_of((5, 5, 15, 15, 1, 0.9), (0, 20, 10, 28, 3, 0.8)), scale=0.75)
    writer.add(Path("x/none.png"), Path("none"), found_of())
    writer.add(Path("y/two, three.png"), Path("two, three"), found_of((5, 5, 25, 15, 1, 0.7), size=(50, 60)))
    writer.finish()
    return tmp_path


def test_one_row_per_cell(written):
    table = pandas.read_csv(written / "cells.csv")
    assert table[["file", "cell", "class", "touches_border"]].values.tolist() == [
        ["x/one.png", 1, "a", 0],
        ["x/one.png", 2, "c", 1],
        ["y/two, three.png", 1, "a", 0],
    ]
    assert table["area_px"].tolist() == [100, 80, 200]
    assert table.loc[0, ["x1_px", "y1_px", "x2_px", "y2_px", "score"]].tolist() == [5, 5, 15, 15, 0.9]
    assert table.loc[0, ["centroid_x_px", "centroid_y_px"]].tolist() == [10, 10]
    assert table.loc[0, "diameter_px"] == pytest.approx((400 / np.pi) ** 0.5, abs=1e-3)
    assert table["scale"].fillna(0).tolist() == [0.75, 0.75, 0]


def test_micrometres_follow_from_the_size_of_a_pixel(written, tmp_path_factory, found_of):
    table = pandas.read_csv(written / "cells.csv")
    assert table["area_um2"].tolist() == [25, 20, 50]
    assert table["diameter_um"].values == pytest.approx(table["diameter_px"] / 2, abs=1e-3)
    assert table["perimeter_um"].values == pytest.approx(table["perimeter_px"] / 2, abs=1e-3)
    folder = tmp_path_factory.mktemp("without")
    PredictionWriter(folder, NAMES, options=FEW).add(Path("a.png"), Path("a"), found_of((1, 1, 5, 5, 1, 0.9)))
    assert not [name for name in pandas.read_csv(folder / "cells.csv") if "um" in name]


def test_measures_are_those_of_scikit_image(tmp_path, found_of):
    rng = np.random.default_rng(3)
    masks = [ndimage.gaussian_filter(rng.random((60, 70)), 4) > level for level in (0.49, 0.5, 0.51)]
    writer = PredictionWriter(tmp_path, NAMES, options=FEW)
    writer.add(Path("a.png"), Path("a"), found_of(*((mask, 1, 0.9) for mask in masks), size=(60, 70)))
    table = pandas.read_csv(tmp_path / "cells.csv")
    for mask, (_, row) in zip(masks, table.iterrows(), strict=True):
        (theirs,) = measure.regionprops(mask.astype(int))
        assert row["area_px"] == theirs.area
        assert row["diameter_px"] == pytest.approx(theirs.equivalent_diameter_area, abs=1e-3)
        assert row["eccentricity"] == pytest.approx(theirs.eccentricity, abs=1e-3)
        assert row["perimeter_px"] == pytest.approx(theirs.perimeter_crofton, rel=0.02)
        place = [row[name] - 0.5 for name in ("centroid_y_px", "centroid_x_px")]  # a pixel's centre is 0.5 here
        assert place == pytest.approx(theirs.centroid, abs=1e-3)
        assert row[["y1_px", "x1_px", "y2_px", "x2_px"]].tolist() == list(theirs.bbox)


def test_the_differential_count_per_image(written):
    table = pandas.read_csv(written / "differential.csv").set_index("file")
    assert table.index.tolist() == ["x/one.png", "x/none.png", "y/two, three.png"]
    assert table.loc["x/one.png", [f"{name}_percent" for name in NAMES]].tolist() == [50, 0, 50]  # of its own cells
    assert table.loc["x/none.png", ["cells", "a"]].tolist() == [0, 0]
    assert np.isnan(table.loc["x/none.png", "a_percent"])
    assert table.loc["y/two, three.png", [f"{name}_percent" for name in NAMES]].tolist() == [100, 0, 0]


def test_the_differential_count_per_folder_and_in_all_has_exact_intervals(written):
    folders = pandas.read_csv(written / "differential_folders.csv").set_index("folder")
    assert folders[["images", "cells", *NAMES]].T.to_dict("list") == {"x": [2, 2, 1, 0, 1], "y": [1, 1, 1, 0, 0]}
    total = pandas.read_csv(written / "differential_total.csv")
    assert len(total) == 1
    row = total.loc[0]
    assert row[["images", "cells", *NAMES]].tolist() == [3, 3, 2, 0, 1]
    for name, count in zip(NAMES, (2, 0, 1), strict=True):
        low, high = stats.binomtest(count, 3).proportion_ci(0.95, "exact")
        assert row[f"{name}_percent"] == round(100 * count / 3, 1)
        assert row[[f"{name}_percent_low", f"{name}_percent_high"]].tolist() == pytest.approx(
            [100 * low, 100 * high], abs=0.051
        )


def test_without_a_cell_no_percentage_is_claimed(tmp_path, found_of):
    writer = PredictionWriter(tmp_path, NAMES, options=FEW)
    writer.add(Path("a.png"), Path("a"), found_of())
    assert writer.finish()[0] == {"a": 0, "b": 0, "c": 0}
    row = pandas.read_csv(tmp_path / "differential_total.csv").loc[0]
    assert row["cells"] == 0
    assert row.filter(like="_percent").isna().all()


def test_a_spreadsheet_runs_nothing_and_shows_umlauts(tmp_path, found_of):
    names = ("=cmd|'/c calc'!A1", "Zelle, groß")
    writer = PredictionWriter(tmp_path, names, options=FEW)
    found = found_of((5, 5, 15, 15, 1, 0.9), (20, 5, 25, 15, 2, 0.9), names=names)
    writer.add(Path("@Müller.png"), Path("m"), found)
    writer.finish()
    assert (tmp_path / "cells.csv").read_bytes().startswith("\ufefffile,cell".encode())
    table = pandas.read_csv(tmp_path / "cells.csv")
    assert table["class"].tolist() == ["'=cmd|'/c calc'!A1", "Zelle, groß"]
    assert set(table["file"]) == {"'@Müller.png"}
    for path in tmp_path.glob("*.csv"):
        with path.open(encoding="utf-8-sig", newline="") as file:
            assert not [cell for row in csv.reader(file) for cell in row if cell.startswith(("=", "+", "@"))]


def test_numbers_stay_numbers():
    assert csv_text([(-1.5, "-1.5", "a-b", "\t=1", 7)]) == "-1.5,'-1.5,a-b,'\t=1,7\r\n"


def test_colours_are_compared_with_those_of_training(tmp_path, found_of):
    known = ColourRange.of([torch.full((3, 4, 5), 0.5), torch.full((3, 4, 5), 0.52)])
    writer = PredictionWriter(tmp_path, NAMES, known, FEW)
    writer.add(Path("usual.png"), Path("usual"), found_of(), colour_quantiles(torch.full((3, 30, 40), 0.5)))
    writer.finish()
    assert writer.colour_warning() == ""
    assert not (tmp_path / "colours.png").exists()
    writer.add(Path("dark.png"), Path("dark"), found_of(), colour_quantiles(torch.full((3, 30, 40), 0.1)))
    writer.finish()
    assert (tmp_path / "colours.png").exists()
    assert "1 of 2 images" in writer.colour_warning()
    assert pandas.read_csv(tmp_path / "differential.csv")["colour_distance"].tolist() == [0, 102]  # 0.4 of 255
    again = PredictionWriter(tmp_path, NAMES, known, FEW)
    assert again.colour_warning() == writer.colour_warning()
    assert pandas.read_csv(tmp_path / "differential.csv")["colour_distance"].tolist() == [0, 102]


def test_what_lies_in_another_cell_is_counted_on_request(tmp_path, predict, photograph):
    image = photograph(tmp_path / "a.png")
    for options, classes in (
        ((), ["basophil", "neutrophil"]),
        (("--keep-nested",), ["basophil", "neutrophil", "lymphocyte"]),
    ):
        assert predict(image, "--out", tmp_path / "out", "--overwrite", *options)[0] == 0
        assert pandas.read_csv(tmp_path / "out/cells.csv")["class"].tolist() == classes


def test_splash_is_grey_but_for_the_cells(found_of):
    found = found_of((5, 5, 15, 15, 1, 0.9), (20, 2, 30, 12, 2, 0.6))
    picture = color_splash(found.image, found.regions)
    inside = np.zeros((30, 40), bool)
    inside[5:15, 5:15] = inside[2:12, 20:30] = True
    assert np.array_equal(picture[inside], found.image[inside])
    outside = picture[~inside].astype(int)
    assert (outside.max(axis=1) == outside.min(axis=1)).all()
    assert np.abs(outside[:, 0] - (found.image[~inside] @ [0.299, 0.587, 0.114])).max() <= 1
    assert color_splash(found.image, []).shape == (30, 40, 3)


@pytest.mark.parametrize(
    ("box", "touches"),
    [
        ((5, 5, 15, 15), 0), ((1, 1, 39, 29), 0),
        ((0, 5, 9, 15), 1), ((5, 0, 15, 9), 1), ((30, 5, 40, 15), 1), ((5, 20, 15, 30), 1),
    ],
)  # fmt: skip
def test_a_cell_touches_the_border_on_any_of_four_sides(tmp_path, box, touches, found_of):
    writer = PredictionWriter(tmp_path, NAMES, options=FEW)
    writer.add(Path("one.png"), Path("one"), found_of((*box, 1, 0.9)))
    assert pandas.read_csv(tmp_path / "cells.csv")["touches_border"].tolist() == [touches]


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
