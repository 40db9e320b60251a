"""Drawn cells against measurements of LISC."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import ConvexHull

from data.synthetic.cell import draw_cell
from maskrcnn.config import LISC_CLASSES


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


# Measured on LISC: the diameter in pixels and the nucleus's fraction of the area. The basophil's nucleus is hidden.
MEASURED = {
    "basophil": ((64, 90), (0, 1)),
    "eosinophil": ((76, 90), (0.35, 0.48)),
    "lymphocyte": ((53, 59), (0.78, 0.92)),
    "monocyte": ((76, 107), (0.50, 0.60)),
    "neutrophil": ((77, 94), (0.42, 0.48)),
}


@pytest.mark.parametrize("name", LISC_CLASSES)
def test_cells_have_the_measured_sizes_and_nuclei(name):
    (smallest, largest), (least, most) = MEASURED[name]
    diameters = []
    for seed in range(30):
        cell = draw_cell(name, rng(seed))
        diameters.append(2 * np.sqrt(cell.mask.sum() / np.pi))  # of a circle of the same area
        fraction = (cell.nucleus & cell.mask).sum() / cell.mask.sum()
        assert least - 0.01 < fraction < most + 0.01
        assert not (cell.nucleus & ~cell.mask).any()
        assert ndimage.label(cell.mask, np.ones((3, 3)))[1] == 1
        assert np.array_equal(cell.mask, cell.coverage >= 0.5)
        edge = np.concatenate([cell.coverage[0], cell.coverage[-1], cell.coverage[:, 0], cell.coverage[:, -1]])
        assert not edge.any()  # the window cuts nothing off
        assert cell.absorbance.shape == (*cell.mask.shape, 3)
        assert (cell.absorbance[cell.mask] > 0).all()
    assert 0.95 * smallest < min(diameters) < max(diameters) < 1.05 * largest
    assert max(diameters) - min(diameters) > 0.6 * (largest - smallest)  # the whole range is used


def solidity(nucleus: np.ndarray) -> float:
    """Area over the area of the convex hull: 1 for a disc, less for a kidney, least for lobes."""
    return nucleus.sum() / ConvexHull(np.argwhere(nucleus)).volume


def test_nuclei_have_the_form_of_their_class():
    """Round in lymphocytes, indented in monocytes, lobed in granulocytes; neutrophils have more lobes than eosinophils."""
    solid = {
        name: np.mean([solidity(draw_cell(name, rng(seed)).nucleus) for seed in range(30)]) for name in LISC_CLASSES
    }
    assert solid["lymphocyte"] > 0.95
    assert solid["monocyte"] < solid["lymphocyte"] - 0.05
    assert solid["eosinophil"] < solid["lymphocyte"] - 0.05
    assert solid["neutrophil"] == min(solid.values())

    def lobes(name: str, seed: int) -> int:
        """Connected components of the thick parts of the nucleus, without the filaments."""
        cell = draw_cell(name, rng(seed))
        thickness = ndimage.distance_transform_edt(cell.nucleus)
        return ndimage.label(thickness > 0.7 * thickness.max())[1]

    counts = {name: np.mean([lobes(name, seed) for seed in range(40)]) for name in ("eosinophil", "neutrophil")}
    assert counts["neutrophil"] > counts["eosinophil"] > 1.2


def test_the_colours_and_outlines_of_the_classes():
    """On white: eosinophils are redder than neutrophils, basophils are the darkest, the cytoplasm of neutrophils is the
    palest of the granulocytes, and the outline of basophils is the most ragged."""

    def mean_colour(name: str, part: str) -> np.ndarray:
        colours = []
        for seed in range(20):
            cell = draw_cell(name, rng(seed))
            chosen = cell.mask & (cell.nucleus if part == "nucleus" else ~cell.nucleus) if part else cell.mask
            colours.append(255 * np.exp(-cell.absorbance[chosen]).mean(axis=0))
        return np.mean(colours, axis=0)

    cytoplasm = {name: mean_colour(name, "cytoplasm") for name in LISC_CLASSES}
    redness = {name: colour[0] - colour[2] for name, colour in cytoplasm.items()}
    assert redness["eosinophil"] == max(redness.values())
    assert redness["eosinophil"] > redness["neutrophil"] + 20
    assert min(LISC_CLASSES, key=lambda name: mean_colour(name, "").mean()) == "basophil"
    assert cytoplasm["neutrophil"].mean() > cytoplasm["eosinophil"].mean() > cytoplasm["basophil"].mean()
    # LISC's neutrophils: nucleus (160, 113, 207), cytoplasm (229, 198, 240).
    assert np.abs(mean_colour("neutrophil", "nucleus") - (160, 113, 207)).max() < 20
    assert np.abs(cytoplasm["neutrophil"] - (229, 198, 240)).max() < 20

    def ragged(name: str) -> float:
        """How much the mask differs from the same mask smoothed, relative to its diameter."""
        ratios = []
        for seed in range(20):
            mask = draw_cell(name, rng(seed)).mask.astype(float)
            smooth = ndimage.gaussian_filter(mask, 4)
            ratios.append(np.abs(mask - (smooth > 0.5)).sum() / np.sqrt(mask.sum()))
        return float(np.mean(ratios))

    assert ragged("basophil") == max(map(ragged, LISC_CLASSES))
    assert ragged("basophil") > 1.7 * ragged("lymphocyte")
