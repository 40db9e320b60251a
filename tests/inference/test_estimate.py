"""How large cells are, for a model in whose place discs of one size are found."""

import numpy as np
import pytest
import torch

from maskrcnn.inference import estimate
from maskrcnn.inference.estimate import estimate_diameter, some_images
from maskrcnn.inference.objects import Objects, joined
from maskrcnn.inference.scale import TrainingScale

KNOWN = TrainingScale(0.5, True, (200, 300), (24.0, 26.0, 28.0, 30.0, 32.0, 34.0, 36.0))


@pytest.fixture
def found_diameters(monkeypatch):
    """Set the diameters of the discs in images (each 200 x 300), which are found if the model sees 18 to 50 pixels; shown
    too large, an image has cells that are as large as training cells."""

    def set_diameters(*diameters):
        def predict(model, image, precision, scale, known, change):
            masks = [disc(d) for d in diameters if 18 <= d * scale <= 50]
            masks = masks or [disc(29 / scale)] * 20 * (max(diameters, default=0) * scale > 50)
            patches = torch.stack(masks)[:, None] if masks else torch.zeros(0, 1, 200, 300)
            boxes = torch.tensor([[100.0 * k, 0, 100 * k + 10, 10] for k in range(len(masks))]).reshape(-1, 4)
            scores = torch.full((len(masks),), 0.9)
            result = {"boxes": boxes, "labels": torch.ones(len(masks)).long(), "scores": scores, "masks": patches}
            return Objects.of_result(result)

        monkeypatch.setattr(estimate, "predict", predict)

    return set_diameters


def disc(diameter):
    rows, columns = np.mgrid[:200, :300]
    return torch.from_numpy(((rows - 100) ** 2 + (columns - 150) ** 2 <= (diameter / 2) ** 2).astype(np.float32))


@pytest.mark.parametrize("diameter", [25, 42, 60, 75, 120, 190])
def test_the_size_of_cells_is_estimated(found_diameters, diameter):
    found_diameters(diameter)
    images = [torch.zeros(3, 200, 300)] * 3
    assert estimate_diameter(None, images, KNOWN) == pytest.approx(diameter, rel=0.03)


def test_where_nothing_is_found_there_is_no_estimate(found_diameters):
    found_diameters()
    assert estimate_diameter(None, [torch.zeros(3, 200, 300)], KNOWN) is None
    assert estimate_diameter(None, [], KNOWN) is None


def test_of_many_images_some_are_looked_at_and_of_a_large_one_the_middle(found_diameters, monkeypatch):
    assert some_images([(200, 300)] * 5, KNOWN) == [0, 1, 2, 3, 4]
    assert some_images([(200, 300)] * 99, KNOWN) == [0, 14, 28, 42, 56, 70, 84, 98]
    assert len(some_images([(100, 150)] * 99, KNOWN)) == 32  # quarters: four times as many
    assert len(some_images([(20, 30)] * 99, KNOWN)) == 64
    assert len(some_images([(5000, 9000)] * 99, KNOWN)) == 2  # as much of them as is looked at
    assert some_images([], KNOWN) == []
    sizes = set()

    def nothing(model, image, *_, **options):
        sizes.add(tuple(image.shape))
        return joined([], (1, 1))

    monkeypatch.setattr(estimate, "predict", nothing)
    estimate_diameter(None, [torch.zeros(3, 5000, 300)], KNOWN)
    assert sizes == {(3, round(1.5 * KNOWN.tile(KNOWN.scale)[0]), 300)}
