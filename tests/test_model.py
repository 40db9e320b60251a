"""The composition: the order of the stages, the convention outside, training and detection."""

import pytest
import torch

from maskrcnn import Config, MaskRCNN
from maskrcnn.heads import paste_masks

DETECTION = [
    "images",
    "features",
    "anchors",
    "rpn",
    "proposals",
    "roi_features",
    "box_head",
    "detections",
    "mask_roi_features",
    "mask_head",
    "results",
]
TRAINING = [
    "images",
    "features",
    "anchors",
    "rpn",
    "proposals",
    "targets",
    "rpn_targets",
    "rpn_losses",
    "rois",
    "roi_features",
    "box_head",
    "box_losses",
    "mask_roi_features",
    "mask_head",
    "mask_targets",
    "losses",
]
LOSSES = ["loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness", "loss_rpn_box_reg"]


@pytest.fixture(scope="module")
def model() -> MaskRCNN:
    torch.manual_seed(0)
    config = Config.small(min_size=96, max_size=128, box_score_thresh=0.0, boxes_around_masks=False)
    return MaskRCNN(config).eval()


def disc(height: int, width: int, x: float, y: float, radius: float) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return ((rows - y) ** 2 + (columns - x) ** 2 < radius**2).to(torch.uint8)


def sample(height: int = 96, width: int = 128) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A dark disc on a light ground, and its target."""
    mask = disc(height, width, 60, 40, 20)
    image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(5)) * 0.1 + 0.8
    image = torch.where(mask.bool(), torch.tensor([0.4, 0.2, 0.6])[:, None, None], image)
    target = {"boxes": torch.tensor([[40.0, 20, 80, 60]]), "labels": torch.tensor([3]), "masks": mask[None]}
    return image, target


def nothing(height: int = 96, width: int = 128) -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.int64),
        "masks": torch.zeros(0, height, width),
    }


def test_stages_come_in_the_papers_order_and_print_their_shapes(model):
    image, target = sample()
    with torch.no_grad():
        detection, training = list(model.stages([image])), list(model.stages([image], [target]))
    assert [name for name, _ in detection] == DETECTION
    assert [name for name, _ in training] == TRAINING
    printed = {name: repr(output) for name, output in detection}
    assert "float32 [1, 128, 24, 32]" in printed["features"]  # P2 of an image of 96 x 128
    assert "objectness: float32 [1, " in printed["rpn"]
    assert "roi_features: float32 [300, 128, 7, 7]" in printed["roi_features"]
    assert all(len(text) < 1000 for name, text in printed.items() if name != "results")


def test_stages_can_be_stopped_anywhere_and_resumed(model):
    image, _ = sample()
    with torch.no_grad():
        stages = model.stages([image])
        seen = [next(stages)[0] for _ in range(5)]
        assert seen == DETECTION[:5]
        assert [name for name, _ in stages] == DETECTION[5:]


def test_detection_returns_torchvisions_convention(model):
    images = [sample()[0], sample(120, 80)[0]]
    with torch.no_grad():
        results = model(images)
    assert len(results) == 2
    for image, result in zip(images, results):
        assert list(result) == ["boxes", "labels", "scores", "masks"]
        height, width = image.shape[-2:]
        count = len(result["scores"])
        assert 0 < count <= 100
        assert result["boxes"].shape == (count, 4)
        assert result["masks"].shape == (count, 1, height, width)
        assert [value.dtype for value in result.values()] == [torch.float32, torch.int64, torch.float32, torch.float32]
        assert result["labels"].min() >= 1
        assert result["labels"].max() <= 5
        assert (result["scores"].diff() <= 0).all()
        assert result["masks"].min() >= 0
        assert result["masks"].max() <= 1
        assert (result["boxes"] >= 0).all()
        assert (result["boxes"] <= torch.tensor([width, height, width, height]) + 1e-4).all()
        assert (result["boxes"][:, 2:] > result["boxes"][:, :2]).all()


def test_results_are_the_detections_in_pixels_of_the_images_given(model):
    # Twice as high and wide as what the model sees, and 1.25 times: 96 x 122 and 96 x 128 px.
    images = [sample(192, 244)[0], sample(120, 160)[0]]
    with torch.no_grad():
        stages = dict(model.stages(images))
    assert stages["images"].sizes == [(96, 122), (96, 128)]
    detections, masks = stages["detections"], stages["mask_head"].probabilities()
    for i, (result, scale) in enumerate(zip(stages["results"], (2, 1.25))):
        assert torch.equal(result["labels"], detections.labels[i])
        assert torch.equal(result["scores"], detections.scores[i])
        torch.testing.assert_close(result["boxes"], detections.boxes[i] * scale)
        of_image = masks.split([len(boxes) for boxes in detections.boxes])[i]
        x1, y1, x2, y2 = result["boxes"].unbind(1)
        padding = model.config.mask_roi_padding * torch.stack([x1 - x2, y1 - y2, x2 - x1, y2 - y1], dim=1)
        pasted = paste_masks(of_image, result["boxes"] + padding, tuple(images[i].shape[-2:]))
        torch.testing.assert_close(result["masks"][:, 0], pasted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("padding", [0.0, 0.25])
def test_masks_are_predicted_in_boxes_expanded_by_the_padding(padding):
    torch.manual_seed(0)
    changes = {"mask_roi_padding": padding, "boxes_around_masks": False}
    model = MaskRCNN(Config.small(min_size=96, max_size=128, box_score_thresh=0.0, **changes)).eval()
    image, target = sample()
    with torch.no_grad():
        model.mask_head.mask_logits.bias.fill_(100.0)  # all of the box is object
        result = model([image])[0]
        training = dict(model.stages([image], [target]))
    rows, columns = torch.meshgrid(torch.arange(96) + 0.5, torch.arange(128) + 0.5, indexing="ij")
    for (x1, y1, x2, y2), mask in zip(result["boxes"][:10].tolist(), result["masks"][:10, 0], strict=True):
        dx, dy = padding * (x2 - x1), padding * (y2 - y1)
        inside = (columns > x1 - dx) & (columns < x2 + dx) & (rows > y1 - dy) & (rows < y2 + dy)
        # At the edge of the box a mask fades out over its last half bin.
        assert ((mask > 0.5) & ~inside).sum() == 0
        assert (mask > 0.5).sum() > 0.8 * inside.sum()
    # In training the ground-truth box is one of the RoIs: of a disc it holds pi / 4, of a larger box accordingly less.
    positives = training["rois"].positives().boxes[0]
    exact = (positives - target["boxes"]).abs().amax(dim=1).argmin()
    assert torch.equal(positives[exact], target["boxes"][0])
    fraction = float(training["mask_targets"].masks[exact].mean())
    assert fraction == pytest.approx(torch.pi / 4 / (1 + 2 * padding) ** 2, abs=0.01)


def test_training_returns_five_losses_and_evaluation_can_too(model):
    image, target = sample()
    with torch.no_grad():
        in_evaluation = model.losses([image], [target])
        model.train()
        in_training = model([image], [target])
        model.eval()
    assert list(in_training) == list(in_evaluation) == LOSSES
    assert all(value.dim() == 0 and value.isfinite() and value > 0 for value in in_training.values())


def test_training_without_targets_says_what_to_do(model):
    model.train()
    with pytest.raises(ValueError, match=r"needs targets; call model\.eval\(\)"):
        model([sample()[0]])
    model.eval()


@pytest.mark.parametrize("with_object_beside", [False, True])
def test_an_image_without_objects_trains(model, with_object_beside):
    image, target = sample()
    images, targets = [image], [nothing()]
    if with_object_beside:
        images, targets = [image, image], [nothing(), target]
    losses = model.losses(images, targets)
    assert all(value.isfinite() for value in losses.values())
    assert (losses["loss_mask"] == 0) != with_object_beside
    assert losses["loss_mask"].requires_grad
    losses["loss_mask"].backward()
    assert model.mask_head.mask_logits.weight.grad is not None
    model.zero_grad()


def spread_scores(model):
    """Random weights give many scores that are nearly equal, whose order rounding would decide."""
    with torch.no_grad():
        for layer in (model.rpn_head.objectness, model.box_head.class_logits):
            layer.weight.mul_(30)
        model.mask_head.mask_logits.weight.mul_(1000)


def test_a_batch_gives_what_its_images_give_alone():
    """Of different sizes, but one padded size: GroupNorm and borders see the padding, so only then is it exact."""
    torch.manual_seed(0)
    config = Config.small(min_size=96, max_size=128, box_score_thresh=0.0, box_detections_per_img=20)
    model = MaskRCNN(config).eval()
    spread_scores(model)
    images = [sample(96, 122)[0], sample(91, 128)[0]]
    with torch.no_grad():
        sizes = [batch.sizes for batch in (dict(model.stages([image]))["images"] for image in images)]
        together, alone = model(images), [model([image])[0] for image in images]
    assert sizes == [[(96, 122)], [(91, 128)]]
    for a, b in zip(together, alone):
        assert len(a["scores"]) == 20
        assert a["scores"].diff().abs().min() > 5e-5  # so the order is not a matter of rounding
        assert a["masks"].std() > 0.1
        assert a["labels"].tolist() == b["labels"].tolist()
        torch.testing.assert_close(a["scores"], b["scores"], atol=1e-5, rtol=0)
        torch.testing.assert_close(a["boxes"], b["boxes"], atol=1e-3, rtol=0)
        torch.testing.assert_close(a["masks"], b["masks"], atol=1e-3, rtol=0)


def test_inputs_are_left_as_they_were(model):
    image, target = sample()
    image_before, target_before = image.clone(), {name: value.clone() for name, value in target.items()}
    with torch.no_grad():
        model.losses([image], [target])
        model([image])
    assert torch.equal(image, image_before)
    assert target.keys() == target_before.keys()
    assert all(torch.equal(target[name], target_before[name]) for name in target)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": torch.tensor([[40.0, 20, 40, 60]])}, "target 0 has a box without finite area"),
        ({"labels": torch.tensor([0])}, "0 is background"),
        ({"labels": torch.tensor([6])}, "expected 1 to 5"),
        ({"masks": torch.zeros(1, 90, 128)}, r"expected boxes \(1, 4\) and masks \(1, 96, 128\)"),
        ({"masks": torch.zeros(2, 96, 128)}, "target 0: 1 labels"),
    ],
)
def test_targets_that_cannot_be_trained_on_are_refused(model, change, message):
    image, target = sample()
    with pytest.raises(ValueError, match=message):
        model.losses([image], [{**target, **change}])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "no images"),
        ([torch.rand(1, 64, 64)], r"image 0 has shape \(1, 64, 64\)"),
        ([torch.rand(3, 64, 64), torch.zeros(3, 64, 64, dtype=torch.uint8)], "image 1 is torch.uint8"),
    ],
)
def test_images_of_another_form_are_refused(model, images, message):
    with pytest.raises(ValueError, match=message):
        model(images)


def test_frozen_stages_get_no_gradient_and_the_rest_does():
    image, target = sample()
    model = MaskRCNN(Config(min_size=96, max_size=128, frozen_stages=2)).train()
    sum(model([image], [target]).values()).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert without == {name for name in dict(model.named_parameters()) if ".stem." in name or ".res2." in name}


@pytest.mark.parametrize("size", [(3, 60), (200, 2), (5, 7), (1, 1)])
def test_an_image_narrower_than_a_stride_is_detected_and_trained_on(model, size):
    height, width = size
    image = torch.rand(3, *size)
    box = torch.tensor([[0.0, 0.0, width, height]])
    target = {"boxes": box, "labels": torch.tensor([2]), "masks": torch.ones(1, *size)}
    with torch.no_grad():
        result = model([image])[0]
        losses = model.losses([image], [target])
    assert result["masks"].shape[1:] == (1, *size)
    assert (result["boxes"] <= torch.tensor([width, height, width, height]) + 1e-4).all()
    assert all(value.isfinite() for value in losses.values())
    assert losses["loss_mask"] > 0


# Whether targets are given decides which limits hold, and nothing else does. At an NMS threshold of 1 no box is suppressed,
# so 5 levels with as many boxes as the limit before NMS are left, or as many as the limit after it.
LIMITS = {"rpn_nms_thresh": 1.0, "rpn_min_box_size": 0.0, "rpn_pre_nms_top_n_train": 7, "rpn_pre_nms_top_n_test": 4}


@pytest.mark.parametrize("training_mode", [True, False])
@pytest.mark.parametrize(
    ("post_train", "post_test", "in_training", "in_detection"), [(1000, 1000, 35, 20), (17, 6, 17, 6), (6, 17, 6, 17)]
)
def test_targets_alone_choose_the_numbers_of_proposals(training_mode, post_train, post_test, in_training, in_detection):
    changes = {"rpn_post_nms_top_n_train": post_train, "rpn_post_nms_top_n_test": post_test, **LIMITS}
    model = MaskRCNN(Config.small(min_size=96, max_size=128, **changes)).train(training_mode)
    image, target = sample()
    counts, sample_rois = [], model.roi_sampler
    model.roi_sampler = lambda proposals, *gt: counts.append(len(proposals[0])) or sample_rois(proposals, *gt)
    with torch.no_grad():
        detection, training = dict(model.stages([image])), dict(model.stages([image], [target]))
        model.losses([image], [target])
    assert len(detection["proposals"].boxes[0]) == in_detection
    assert len(training["proposals"].boxes[0]) == in_training
    assert counts == [in_training] * 2


def test_losses_are_the_same_in_both_modes(model):
    image, target = sample()
    results = []
    for training in (True, False):
        torch.manual_seed(1)
        with torch.no_grad():
            results.append(model.train(training).losses([image], [target]))
    assert results[0] == results[1]


def test_it_learns_one_image():
    """From random weights to the right class, box and mask of one disc."""
    torch.manual_seed(0)
    image, target = sample()
    model = MaskRCNN(Config.small(min_size=72, max_size=96, size_divisible=32)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    for _ in range(60):
        loss = sum(model([image], [target]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        result = model.eval()([image])[0]
    best = {name: value[0] for name, value in result.items()}
    assert best["labels"] == 3
    assert best["scores"] > 0.8
    torch.testing.assert_close(best["boxes"], target["boxes"][0], atol=4, rtol=0)
    mask, truth = best["masks"][0] > 0.5, target["masks"][0].bool()
    assert (mask & truth).sum() / (mask | truth).sum() > 0.8
