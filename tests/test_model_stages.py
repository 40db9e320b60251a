"""What the model hands from stage to stage, each loss and detection worked out again from the outputs of the stages.

Nothing is shared between classes, and the numbers of the config are nobody's default, so that a wrong label or a number
that is written into the code shows.
"""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from maskrcnn import Config, MaskRCNN
from maskrcnn.roi import roi_align

WEIGHTS, BETA = (3, 4, 5, 6), 0.7
SIZES = [(96, 122), (91, 128)]  # both are padded to 96 x 128


def specific_config(**changes):
    return Config.small(
        min_size=96,
        max_size=128,
        class_agnostic_boxes=False,
        class_agnostic_masks=False,
        mask_roi_padding=0.0,
        boxes_around_masks=False,
        bbox_reg_weights=WEIGHTS,
        smooth_l1_beta=BETA,
        pooler_sampling_ratio=3,
        **changes,
    )


def images():
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, *size, generator=generator) for size in SIZES]


def rectangles(size, boxes, labels):
    masks = torch.zeros(len(boxes), *size, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes):
        mask[y1:y2, x1:x2] = 1
    return {"boxes": torch.tensor(boxes).float(), "labels": torch.tensor(labels), "masks": masks}


TARGETS = [
    rectangles(SIZES[0], [(40, 20, 80, 60)], [3]),
    rectangles(SIZES[1], [(5, 40, 60, 90), (70, 8, 110, 35)], [5, 2]),
]


@pytest.fixture(scope="module", params=[True, False], ids=["aligned", "legacy"])
def model(request):
    torch.manual_seed(0)
    model = MaskRCNN(specific_config(roi_align_half_pixel=request.param, canonical_box_size=5, box_score_thresh=0.0))
    with torch.no_grad():  # so that masks differ, and proposals from anchors
        model.mask_head.mask_logits.weight.mul_(1000)
        model.rpn_head.deltas.weight.mul_(30)
    return model.eval()


@pytest.fixture(scope="module")
def training(model):
    with torch.no_grad():
        return dict(model.stages(images(), TARGETS))


@pytest.fixture(scope="module")
def detection(model):
    with torch.no_grad():
        return dict(model.stages(images()))


def deltas_by_hand(box, reference, weights=WEIGHTS):
    """Girshick et al. 2014, appendix C, in plain numbers."""
    (x1, y1, x2, y2), (p1, q1, p2, q2) = box.tolist(), reference.tolist()
    dx, dy = (x1 + x2 - p1 - p2) / 2 / (p2 - p1), (y1 + y2 - q1 - q2) / 2 / (q2 - q1)
    dw, dh = math.log((x2 - x1) / (p2 - p1)), math.log((y2 - y1) / (q2 - q1))
    return torch.tensor([weight * delta for weight, delta in zip(weights, (dx, dy, dw, dh))])


def smooth_l1(difference, beta=BETA):
    difference = difference.abs()
    return torch.where(difference < beta, difference**2 / (2 * beta), difference - beta / 2).sum()


def test_the_box_losses_are_those_of_the_true_classes(training):
    rois, prediction = training["rois"], training["box_head"]
    boxes, labels = torch.cat(rois.boxes), torch.cat(rois.labels)
    gt = torch.cat([training["targets"].boxes[i][rois.matched[i]] for i in (0, 1)])
    assert set(rois.labels[0].tolist()) == {0, 3}
    assert set(rois.labels[1].tolist()) == {0, 2, 5}
    classes = -sum(prediction.class_logits[r].log_softmax(0)[label] for r, label in enumerate(labels.tolist()))
    torch.testing.assert_close(training["losses"]["loss_classifier"], classes / len(labels))
    positive = torch.where(labels > 0)[0].tolist()
    differences = [prediction.box_deltas[r, labels[r]] - deltas_by_hand(gt[r], boxes[r]) for r in positive]
    deltas = sum(smooth_l1(difference) for difference in differences)
    torch.testing.assert_close(training["losses"]["loss_box_reg"], deltas / len(labels), rtol=1e-4, atol=1e-5)


def test_the_losses_of_the_rpn_are_those_of_its_sample(training):
    prediction, targets = training["rpn"], training["rpn_targets"]
    sampled = len(targets.positive) + len(targets.negative)
    differences = prediction.deltas.flatten(0, 1)[targets.positive] - targets.deltas
    assert ((differences.abs() > 1 / 9) & (differences.abs() < BETA)).any()  # where another beta would show
    torch.testing.assert_close(training["losses"]["loss_rpn_box_reg"], smooth_l1(differences) / sampled)
    logits = prediction.objectness.flatten()
    objectness = F.softplus(-logits[targets.positive]).sum() + F.softplus(logits[targets.negative]).sum()
    torch.testing.assert_close(training["losses"]["loss_objectness"], objectness / sampled)


def test_the_mask_loss_is_that_of_the_true_classes(training):
    labels = torch.cat(training["rois"].positives().labels)
    logits = torch.stack([training["mask_head"].mask_logits[r, label - 1] for r, label in enumerate(labels)])
    targets = training["mask_targets"].masks
    expected = (F.softplus(logits) - targets * logits).mean()
    torch.testing.assert_close(training["losses"]["loss_mask"], expected)


def test_mask_targets_are_cropped_as_their_features_are_pooled(model, training):
    """With the half-pixel shift, or both without it."""
    positives, aligned = training["rois"].positives(), model.config.roi_align_half_pixel
    expected = []
    for boxes, matched, masks in zip(positives.boxes, positives.matched, training["targets"].masks):
        for box, index in zip(boxes, matched):
            expected.append(roi_align(masks[index][None, None], [box[None]], 28, aligned=aligned)[0, 0])
            other = roi_align(masks[index][None, None], [box[None]], 28, aligned=not aligned)[0, 0]
            assert (expected[-1] - other).abs().max() > 0.1
    torch.testing.assert_close(training["mask_targets"].masks, torch.stack(expected), atol=1e-5, rtol=0)


def check_pooled(pooled, boxes, features, resolution, aligned):
    """Each RoI is pooled from its level, of P2 to P5, by RoIAlign of this one map."""
    assert set(pooled.levels.tolist()) <= {0, 1, 2, 3}
    # With a canonical size of 5 px a box of 20 px would be pooled from P6, if RoIs were.
    side = (torch.cat(boxes)[:, 2:] - torch.cat(boxes)[:, :2]).amin(dim=1)
    assert side[pooled.levels == 3].max() > 20
    assert len(pooled.levels) == len(side)
    roi = 0
    for i, of_image in enumerate(boxes):
        for box in of_image:
            level = pooled.levels[roi]
            stride = 4 * 2 ** int(level)
            expected = roi_align(features.maps[level][i : i + 1], [box[None]], resolution, 1 / stride, 3, aligned)
            torch.testing.assert_close(pooled.roi_features[roi], expected[0], atol=1e-4, rtol=1e-4)
            roi += 1


def test_rois_are_pooled_from_p2_to_p5_however_large_they_are(model, training, detection):
    aligned = model.config.roi_align_half_pixel
    features, positives = training["features"], training["rois"].positives()
    check_pooled(training["roi_features"], training["rois"].boxes, features, 7, aligned)
    check_pooled(training["mask_roi_features"], positives.boxes, features, 14, aligned)
    check_pooled(detection["roi_features"], detection["proposals"].boxes, detection["features"], 7, aligned)
    check_pooled(detection["mask_roi_features"], detection["detections"].boxes, detection["features"], 14, aligned)


def test_with_p1_all_masks_are_pooled_from_it_and_boxes_as_without():
    torch.manual_seed(0)
    model = MaskRCNN(specific_config(canonical_box_size=5, masks_from_p1=True, box_score_thresh=0.0)).eval()
    with torch.no_grad():
        training, detection = dict(model.stages(images(), TARGETS)), dict(model.stages(images()))
    for stages, boxes in (
        (training, training["rois"].positives().boxes),
        (detection, detection["detections"].boxes),
    ):
        masks, mask_map = stages["mask_roi_features"], stages["features"].mask_map
        assert not masks.levels.any()  # although the boxes are large: see canonical_box_size
        expected = torch.cat([roi_align(mask_map[i : i + 1], [of], 14, 1 / 2, 3, True) for i, of in enumerate(boxes)])
        torch.testing.assert_close(masks.roi_features, expected, atol=1e-4, rtol=1e-4)
    check_pooled(training["roi_features"], training["rois"].boxes, training["features"], 7, aligned=True)


def test_the_mask_head_is_trained_on_at_most_so_many_positives():
    torch.manual_seed(0)
    model = MaskRCNN(specific_config(mask_batch_size_per_image=1, canonical_box_size=5))
    stages = dict(model.stages(images(), TARGETS))
    rois = [boxes[:1] for boxes in stages["rois"].positives().boxes]
    assert all(len(labels[labels > 0]) > 1 for labels in stages["rois"].labels)
    check_pooled(stages["mask_roi_features"], rois, stages["features"], 14, model.config.roi_align_half_pixel)
    assert len(stages["mask_targets"].masks) == 2


def test_the_class_loss_leaves_out_the_rois_that_the_config_calls_easy():
    torch.manual_seed(0)
    model = MaskRCNN(specific_config(box_easy_loss_thresh=1.8))
    stages = dict(model.stages(images(), TARGETS))
    labels = torch.cat(stages["rois"].labels)
    losses = -stages["box_head"].class_logits.log_softmax(dim=1)[torch.arange(len(labels)), labels]
    hard = losses[losses > 1.8]
    assert len(labels) / 8 < len(hard) < len(labels)
    torch.testing.assert_close(stages["box_losses"].classes, hard.mean())


def test_images_that_are_not_to_be_resized_are_normalised_and_padded_alone():
    """A model whose size is the image's own does the same."""
    torch.manual_seed(0)
    model = MaskRCNN(specific_config()).eval()
    of_size = {
        size: MaskRCNN(dataclasses.replace(specific_config(), min_size=size[0], max_size=size[1]))
        for size in ((40, 64), (50, 50))
    }
    for (height, width), other in of_size.items():
        other.load_state_dict(model.state_dict())
        image, target = torch.rand(3, height, width), rectangles((height, width), [(5, 5, 30, 30)], [1])
        torch.manual_seed(1)
        losses = model.losses([image], [target], scale=1.0)
        torch.manual_seed(1)
        assert losses == other.eval().losses([image], [target])
        assert losses != model.losses([image], [target])
        assert dict(model.stages([image], scale=1.0))["images"].pixels.shape[-2:] == (64, 64)
        assert dict(model.stages([image], scale=1.0))["images"].sizes == [(height, width)]


@pytest.mark.parametrize("scale", [None, 1.0])
def test_masks_of_given_boxes_are_those_of_detections_with_these_boxes(scale):
    torch.manual_seed(0)
    model = MaskRCNN(specific_config(masks_from_p1=True)).eval()
    given = images()
    with torch.inference_mode():
        results = model(given, scale=scale)
        assert all(len(result["labels"]) > 1 for result in results)
        masks = model.masks(given, *[[result[name] for result in results] for name in ("boxes", "labels")], scale=scale)
        for result, of_image in zip(results, masks, strict=True):
            assert torch.allclose(of_image, result["masks"], atol=1e-4)
        # Another class has another mask, and an image may have no box.
        others = [results[0]["labels"] % 5 + 1, results[1]["labels"][:0]]
        changed = model.masks(given, [results[0]["boxes"], results[1]["boxes"][:0]], others, scale)
    assert not torch.allclose(changed[0], masks[0], atol=1e-3)
    assert changed[1].shape == (0, 1, *SIZES[1])


@pytest.mark.parametrize(
    ("boxes", "labels", "words"),
    [
        ([[10.0, 10, 10, 20]], [1], "without finite area"),
        ([[10.0, 10, 20, 20]], [6], "expected 1 to 5"),
        ([[10.0, 10, 20, 20]], [1, 2], "expected"),
    ],
)
def test_boxes_that_no_mask_can_have_are_refused(boxes, labels, words):
    model = MaskRCNN(specific_config()).eval()
    with pytest.raises(ValueError, match=f"image 0 has .*{words}"):
        model.masks(images()[:1], [torch.tensor(boxes)], [torch.tensor(labels)])


def test_proposals_end_where_their_image_does_not_where_its_padding_does(training, detection):
    for stages in (training, detection):
        assert stages["images"].pixels.shape[-2:] == (96, 128)
        first, second = stages["proposals"].boxes
        assert first[:, 2].max() == 122
        assert second[:, 3].max() == 91


def test_a_detection_has_the_score_the_box_and_the_mask_of_its_class():
    """Heads that read nothing: class k moves a box by k / 10 of its width and has the logit k everywhere in its mask."""
    torch.manual_seed(0)
    model = MaskRCNN(specific_config(box_score_thresh=0.1, box_detections_per_img=1000)).eval()
    class_logits = torch.tensor([0.0, -9, 2, -9, 3, -9])
    scores = {2: 0.2593, 4: 0.7049}  # e^2 and e^3, over 1 + e^2 + e^3; the other classes are below the threshold
    with torch.no_grad():
        for layer in (model.box_head.class_logits, model.box_head.box_deltas, model.mask_head.mask_logits):
            layer.weight.zero_()
            layer.bias.zero_()
        model.box_head.class_logits.bias.copy_(class_logits)
        model.box_head.box_deltas.bias.view(6, 4)[:, 0] = WEIGHTS[0] * torch.arange(6) / 10
        model.mask_head.mask_logits.bias.copy_(torch.arange(1.0, 6))
        stages = dict(model.stages(images()))
    for i, (height, width) in enumerate(SIZES):
        result, proposals = stages["results"][i], stages["proposals"].boxes[i]
        assert set(result["labels"].tolist()) == set(scores)
        for label, score in scores.items():
            of_class = {name: values[result["labels"] == label] for name, values in result.items()}
            assert of_class["scores"].tolist() == pytest.approx([score] * len(of_class["scores"]), abs=1e-3)
            moved = proposals.clone()
            moved[:, [0, 2]] += label / 10 * (proposals[:, 2:3] - proposals[:, :1])
            moved = torch.minimum(moved, torch.tensor([width, height, width, height]))
            distance = (of_class["boxes"][:, None] - moved).abs().amax(dim=2).min(dim=1).values
            assert distance.max() < 1e-3
            highest = of_class["masks"].flatten(1).amax(dim=1)
            torch.testing.assert_close(highest, torch.tensor(float(label)).sigmoid().expand_as(highest))
