import pytest
import torch

from maskrcnn.heads import BoxPrediction, Detections, MaskPrediction, MaskTargets
from maskrcnn.visualization.heads import (
    draw_class_scores,
    draw_detections,
    draw_losses,
    draw_mask_logits,
    draw_mask_target,
)  # fmt: skip

NAMES = ("round", "square")


def test_class_scores_are_probabilities_with_background_first(ax):
    logits = torch.tensor([[0.0, 0.0, 2.0]]).log_softmax(dim=1)
    draw_class_scores(ax, BoxPrediction(logits, torch.zeros(1, 3, 4)), 0, NAMES)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["background", "round", "square"]
    assert sum(bar.get_width() for bar in ax.patches) == pytest.approx(1)
    assert ax.get_title() == "RoI 0: square"


def test_detections_below_the_score_threshold_are_not_drawn(ax):
    boxes = torch.tensor([[0.0, 20, 4, 24], [1, 21, 5, 25], [2, 22, 6, 26]])
    detections = Detections([boxes], [torch.tensor([1, 2, 1])], [torch.tensor([0.9, 0.5, 0.4])])
    draw_detections(ax, detections, NAMES, score_threshold=0.5)
    assert [text.get_text() for text in ax.texts] == ["square 0.50", "round 0.90"]  # the best last, on top


def test_masks_are_drawn_mask_pixel_by_mask_pixel_logits_with_white_at_zero(ax):
    target = draw_mask_target(ax, MaskTargets(torch.tensor([[[0.0, 1.0], [0.5, 0.25]]])), 0).images[0]
    assert target.get_array().tolist() == [[0, 1], [0.5, 0.25]]
    logits = torch.zeros(1, 2, 2, 2)
    logits[0, 1, 0, 0], logits[0, 0, 0, 0] = -3.0, 7.0
    prediction = MaskPrediction(logits, torch.tensor([2]))
    by_default, first_class = (draw_mask_logits(ax, prediction, 0, label).images[-1] for label in (None, 1))
    assert by_default.get_array()[0, 0] == -3
    assert by_default.get_clim() == (-3, 3)
    assert first_class.get_array()[0, 0] == 7


def test_losses_are_bars_with_their_sum(ax):
    draw_losses(ax, {"loss_mask": torch.tensor(0.25), "loss_classifier": torch.tensor(0.5)})
    assert [bar.get_width() for bar in ax.patches] == [0.25, 0.5]
    assert ax.get_title() == "total loss 0.750"
