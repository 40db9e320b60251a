"""Objects with compact masks: which of them count, and their label map."""

import numpy as np
import pytest
import torch

from maskrcnn.inference.objects import Objects, confident, confident_objects, joined, label_map

SIZE = (40, 60)


def objects_of(*found, size=SIZE):
    """found: (x1, y1, x2, y2, label, score), each filled."""
    masks = torch.zeros(len(found), 1, *size)
    for mask, (x1, y1, x2, y2, *_) in zip(masks, found):
        mask[:, y1:y2, x1:x2] = 0.9
    rows = torch.tensor(found, dtype=torch.float32).reshape(-1, 6)
    return Objects.of_result({"boxes": rows[:, :4], "labels": rows[:, 4].long(), "scores": rows[:, 5], "masks": masks})


def test_a_result_is_itself_again():
    result = {
        "boxes": torch.rand(3, 4), "labels": torch.tensor([1, 2, 1]), "scores": torch.rand(3),
        "masks": torch.rand(3, 1, *SIZE) * (torch.rand(3, 1, *SIZE) > 0.999),
    }  # fmt: skip
    result["masks"][1] = 0
    again = Objects.of_result(result).result()
    assert result.keys() == again.keys()
    assert all(torch.equal(value, again[name]) for name, value in result.items())
    assert Objects.of_result(result).regions()[1] is None
    empty = Objects.of_result({name: value[:0] for name, value in result.items()})
    assert empty.result()["masks"].shape == (0, 1, *SIZE)


def test_objects_are_selected_and_moved():
    objects = objects_of((1, 2, 5, 8, 1, 0.9), (10, 2, 15, 8, 2, 0.8), (20, 2, 25, 8, 3, 0.7))
    by_mask, by_index = objects.select(torch.tensor([True, False, True])), objects.select([0, 2])
    for some in (by_mask, by_index):
        assert some.labels.tolist() == [1, 3]
        assert [patch.left for patch in some.patches] == [1, 20]
    moved = by_index.moved(100, 200, (500, 600))
    assert moved.boxes.tolist() == [[201, 102, 205, 108], [220, 102, 225, 108]]
    assert moved.regions()[0].box == (201, 102, 205, 108)
    assert moved.size == (500, 600)
    assert joined([], SIZE).result()["masks"].shape == (0, 1, *SIZE)
    assert joined([by_index, objects], SIZE).by_score().labels.tolist() == [1, 1, 2, 3, 3]


def test_an_object_counts_with_a_score_at_the_threshold_and_a_mask():
    """Far apart: one that counts, a weaker one, one without a pixel above 0.5. And the first with a second class."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [0, 0, 10, 9]])
    masks = torch.zeros(4, 1, 12, 60)
    masks[[0, 1, 3], 0, 4, [4, 24, 4]] = 0.9
    masks[2] = 0.5
    scores = torch.tensor([0.9, 0.4, 0.8, 0.7])
    objects = Objects.of_result({"boxes": boxes, "labels": torch.ones(4).long(), "scores": scores, "masks": masks})
    assert confident(objects, 0.5) == [0]
    assert confident(objects, 0.3) == [0, 1]
    assert confident_objects(objects, 0.3).boxes.tolist() == boxes[:2].tolist()


def test_a_part_of_a_cell_is_no_second_cell():
    """Boxes of a nucleus in its cell, or of half a cell, overlap too little for the NMS of boxes."""
    cell, nucleus, half = (10, 10, 30, 30, 1, 0.9), (12, 12, 24, 24, 2, 0.8), (10, 10, 30, 19, 1, 0.7)
    touching = (28, 10, 48, 30, 2, 0.6)  # shares a tenth of its pixels
    found = objects_of(cell, nucleus, half, touching)
    assert confident(found, 0.5) == [0, 3]
    assert confident(found, 0.5, keep_nested=True) == [0, 1, 2, 3]
    # The better one stays, whichever is larger.
    assert confident(objects_of((12, 12, 24, 24, 2, 0.9), (10, 10, 30, 30, 1, 0.8)), 0.5) == [0]


@pytest.mark.parametrize(("shared", "kept"), [(5, [0, 1]), (6, [0])])
def test_half_of_the_smaller_mask_may_be_shared(shared, kept):
    objects = objects_of((0, 0, 30, 10, 1, 0.9), (30 - shared, 0, 40 - shared, 10, 1, 0.8))
    assert confident(objects, 0.5) == kept


def test_a_label_map_gives_each_pixel_to_its_most_probable_object():
    masks = torch.tensor([[[[0.9, 0.6, 0.4, 0.2]]], [[[0.1, 0.8, 0.51, 0.5]]]])  # [2, 1, 1, 4]
    values = {"boxes": torch.zeros(2, 4), "labels": torch.ones(2).long(), "scores": torch.ones(2)}
    objects = Objects.of_result({**values, "masks": masks})
    assert label_map(objects).tolist() == [[1, 2, 2, 0]]
    assert label_map(objects, threshold=0.7).tolist() == [[1, 2, 0, 0]]
    assert label_map(objects).dtype == np.int32
    assert label_map(objects_of(size=(2, 3))).tolist() == [[0, 0, 0], [0, 0, 0]]
