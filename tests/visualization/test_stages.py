"""A picture of every stage of a model, each checked against the numbers that the stage yields."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from maskrcnn import Config, MaskRCNN
from maskrcnn.rpn import nms
from maskrcnn.visualization import stages as v

NAMES = ("round", "square")


@pytest.fixture(scope="module")
def stages():
    """A model with random weights, an image of 70 x 90, and all outputs at inference and in training with one object."""
    torch.manual_seed(0)
    config = Config.small(NAMES, min_size=64, max_size=96, backbone="resnet18", box_score_thresh=0.0)
    model = MaskRCNN(config).eval()
    image = torch.rand(3, 70, 90)
    mask = torch.zeros(1, 70, 90)
    mask[0, 10:50, 20:60] = 1
    target = {"boxes": torch.tensor([[20.0, 10, 60, 50]]), "labels": torch.tensor([2]), "masks": mask}
    with torch.no_grad():
        return model, image, dict(model.stages([image])), dict(model.stages([image], [target]))


def bars(ax):
    return np.array([bar.get_width() for bar in ax.patches])


def shown(ax, index=0):
    """The values of an image on the Axes."""
    return np.asarray(ax.images[index].get_array())


def check_batch(ax, stages, boxes):
    model, image, out, _ = stages
    v.draw_batch(ax, out["images"], model.transform)
    assert shown(ax).shape == (*out["images"].pixels.shape[-2:], 3)
    height, width = out["images"].sizes[0]
    assert shown(ax)[:height, :width].mean() == pytest.approx(image.mean().item(), abs=0.01)


def check_features(ax, stages, boxes):
    features = stages[2]["features"]
    v.draw_features(ax, features, level=1, channel=3)
    assert np.array_equal(shown(ax), features.maps[1][0, 3].numpy())


def check_anchors(ax, stages, boxes):
    model, _, out, _ = stages
    v.draw_anchors(ax, out["anchors"], (40, 30))
    assert len(boxes(ax)) == len(out["features"].maps) * model.anchors.num_anchors_per_location
    assert {tuple(box) for box in boxes(ax)} <= {tuple(box) for box in out["anchors"].boxes.tolist()}


def check_objectness(ax, stages, boxes):
    out = stages[2]
    v.draw_objectness(ax, out["rpn"], out["anchors"], level=2)
    logits = out["rpn"].objectness.split(out["anchors"].per_level, dim=1)[2]
    assert shown(ax).shape == out["features"].maps[2].shape[-2:]
    assert shown(ax).max() == pytest.approx(logits.sigmoid().max().item())


def check_deltas(ax, stages, boxes):
    out = stages[2]
    v.draw_deltas(ax, out["rpn"], out["anchors"], count=5)
    best = out["rpn"].objectness[0].topk(5).indices
    assert boxes(ax)[:5] == out["anchors"].boxes[best].tolist()
    assert len(boxes(ax)) == 2 * len(ax.texts) == 10  # an anchor, its decoded box, and an arrow for each


def check_rpn_targets(ax, stages, boxes):
    training = stages[3]
    targets = training["rpn_targets"]
    v.draw_rpn_targets(ax, targets, training["anchors"])
    assert boxes(ax) == training["anchors"].boxes[targets.positive].tolist()
    assert len(ax.lines[0].get_xdata()) == len(targets.negative) > 0


def check_proposals(ax, stages, boxes):
    proposals = stages[2]["proposals"]
    v.draw_proposals(ax, proposals)
    assert np.allclose(boxes(ax), proposals.boxes[0].flip(0).numpy(), atol=1e-4)


def check_suppression(ax, stages, boxes):
    proposals = stages[2]["proposals"]
    arguments = proposals.boxes[0], proposals.objectness[0], 0.3
    v.draw_suppression(ax, *arguments)
    assert len(ax.texts) == len(nms(*arguments))
    assert len(ax.texts) + len(boxes(ax)) == len(proposals.boxes[0])


def check_rois(ax, stages, boxes):
    rois = stages[3]["rois"]
    v.draw_rois(ax, rois, NAMES)
    assert len(boxes(ax)) == len(rois.boxes[0]) > 0


def check_roi_levels(ax, stages, boxes):
    out = stages[2]
    v.draw_roi_levels(ax, out["proposals"].boxes[0], out["roi_features"].levels)
    assert len(boxes(ax)) == len(out["roi_features"].levels) > 0
    assert len(ax.get_legend().get_texts()) == len(out["roi_features"].levels.unique())


def check_class_scores(ax, stages, boxes):
    prediction = stages[2]["box_head"]
    v.draw_class_scores(ax, prediction, 3, NAMES)
    assert bars(ax) == pytest.approx(prediction.class_logits[3].softmax(dim=0).numpy())


def check_detections(ax, stages, boxes):
    detections = stages[2]["detections"]
    v.draw_detections(ax, detections, NAMES)
    assert len(ax.texts) == len(detections.scores[0]) > 0
    assert ax.lines[-1].get_xydata()[0] == pytest.approx(detections.boxes[0][0, :2].numpy())  # the best on top


def check_mask_target(ax, stages, boxes):
    targets = stages[3]["mask_targets"]
    v.draw_mask_target(ax, targets, 0)
    assert np.array_equal(shown(ax), targets.masks[0].numpy())
    assert shown(ax).max() > 0.5


def check_mask_logits(ax, stages, boxes):
    prediction = stages[3]["mask_head"]
    v.draw_mask_logits(ax, prediction, 0)
    assert np.array_equal(shown(ax), prediction.select_class()[0].numpy())


def check_pasted(ax, stages, boxes):
    _, image, out, _ = stages
    v.draw_pasted(ax, image, out["results"][0], index=1)
    assert np.array_equal(shown(ax, 0), image.permute(1, 2, 0).numpy())
    assert np.array_equal(shown(ax, 1), out["results"][0]["masks"][1, 0].numpy())


def check_losses(ax, stages, boxes):
    losses = stages[3]["losses"]
    v.draw_losses(ax, losses)
    assert bars(ax) == pytest.approx([float(loss) for loss in losses.values()])
    assert [label.get_text() for label in ax.get_yticklabels()] == list(losses)


CHECKS = {name.removeprefix("check_"): function for name, function in globals().items() if name.startswith("check_")}


@pytest.mark.parametrize("stage", CHECKS)
def test_a_picture_shows_what_the_stage_yields(stage, stages, drawn_boxes):
    figure = Figure()
    CHECKS[stage](figure.subplots(), stages, drawn_boxes)
    figure.canvas.draw()  # all of it can be rendered


def test_every_picture_is_checked():
    pictures = {name.removeprefix("draw_") for name in v.__all__ if name.startswith("draw_")}
    assert pictures - CHECKS.keys() == {"roi_bins"}  # of one RoI rather than a stage: see test_roi.py


@pytest.mark.parametrize("name", sorted(name for name in v.__all__ if name.startswith("draw_")))
def test_pictures_take_the_axes_first_and_return_axes(name):
    function = getattr(v, name)
    assert next(iter(function.__annotations__)) == "ax"
    assert function.__annotations__["return"].__name__ == "Axes"
