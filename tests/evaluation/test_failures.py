"""Each kind of failure, made of rectangles."""

import pytest
import torch

from maskrcnn.evaluation.failures import KINDS, find_failures
from maskrcnn.evaluation.instance_metrics import match_instances

SIZE = (40, 60)
A, B = (0, 0, 20, 10), (24, 0, 44, 10)


def masks(boxes) -> torch.Tensor:
    filled = torch.zeros(len(boxes), *SIZE)
    for mask, (x1, y1, x2, y2) in zip(filled, boxes):
        mask[y1:y2, x1:x2] = 1
    return filled


def failures(detections, cells, labels=None, scores=None):
    prediction = {
        "boxes": torch.tensor(detections).float().reshape(-1, 4),
        "labels": torch.tensor(labels or [1] * len(detections), dtype=torch.int64),
        "scores": torch.tensor(scores or [0.9] * len(detections)),
        "masks": masks(detections)[:, None],
    }
    target = {
        "boxes": torch.tensor(cells).float().reshape(-1, 4),
        "labels": torch.ones(len(cells), dtype=torch.int64),
        "masks": masks(cells),
    }
    return find_failures(prediction, target, match_instances(prediction, target))


@pytest.mark.parametrize(
    ("kind", "detections", "cells", "gt_index", "pred_index"),
    [
        ("missed", [], [A], 0, None),
        ("missed", [(19, 9, 30, 20)], [A], 0, None),  # a corner touches
        ("false positive", [B], [], None, 0),
        ("split", [(0, 0, 9, 10), (10, 0, 19, 10)], [A], 0, 0),
        ("merged", [(0, 0, 44, 30)], [A, B], 0, 0),
        ("split", [(0, 0, 12, 10), (12, 0, 20, 10)], [A], 0, 1),  # the larger piece matches
        ("split", [(0, 0, 9, 10), (8, 0, 16, 10)], [A], 0, 0),  # 45 % and 40 %, 80 % together
        ("poor outline", [(0, 0, 9, 10), (1, 0, 10, 10)], [A], 0, 0),  # 45 % each, but of the same half
        ("poor outline", [(4, 2, 10, 8)], [A], 0, 0),  # small, but inside the cell
        ("duplicate", [A, (0, 0, 14, 10)], [A], 0, 1),
        ("duplicate", [A, (0, 0, 30, 20)], [A], 0, 1),  # three times as large, all around it
        ("poor outline", [(5, 4, 25, 14)], [A], 0, 0),
        ("poor outline", [(0, 0, 20, 25)], [A], 0, 0),
    ],
)
def test_kinds(kind, detections, cells, gt_index, pred_index):
    found = failures(detections, cells)
    assert (kind, gt_index, pred_index) in [failure[:3] for failure in found]
    expected = {"merged": ["merged", "merged"], "missed": ["missed"] + ["false positive"] * len(detections)}
    assert [failure.kind for failure in found] == expected.get(kind, [kind])


def test_misclassified():
    (failure,) = failures([A, B], [A, B], labels=[2, 1])
    assert failure == ("misclassified", 0, 0, A)


def test_a_merger_in_which_one_cell_matches_explains_the_other():
    """The detection covers a large cell and a small one: the large one matches, the small one is merged into it."""
    found = failures([(0, 0, 44, 10)], [(0, 0, 32, 10), (34, 0, 44, 10)])
    assert [(failure.kind, failure.gt_index) for failure in found] == [("merged", 1)]


def test_a_detection_inside_a_merged_cell_is_no_false_positive():
    """One detection covers both cells; another lies wholly in the first, but covers 45 % of it only."""
    found = failures([(0, 0, 44, 30), (0, 0, 9, 10)], [A, B])
    assert [(failure.kind, failure.gt_index) for failure in found] == [("merged", 0), ("merged", 1)]


def test_a_perfect_result_has_no_failures_and_detections_below_the_threshold_are_none():
    assert failures([A, B], [A, B]) == []
    assert failures([A, B], [A], scores=[0.9, 0.49]) == []
    assert [failure.kind for failure in failures([A, B], [A], scores=[0.9, 0.5])] == ["false positive"]


def test_failures_come_in_the_order_of_their_kinds():
    found = failures([A, A, (0, 20, 10, 30)], [A, B], labels=[2, 2, 1])
    kinds = [failure.kind for failure in found]
    assert kinds == ["missed", "false positive", "misclassified", "duplicate"]
    assert kinds == sorted(kinds, key=KINDS.index)
