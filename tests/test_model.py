"""The composition: the order of the stages, the convention outside, training and detection."""

import pytest
import torch

from maskrcnn import Config, MaskRCNN

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
    return MaskRCNN(Config.lisc(min_size=96, max_size=128, score_threshold=0.0)).eval()


def disc(height: int, width: int, x: float, y: float, radius: float) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return ((rows - y) ** 2 + (columns - x) ** 2 < radius**2).to(torch.uint8)


def sample(height: int = 96, width: int = 128) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A dark disc on a light field, and what is to be said of it."""
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
    assert "roi_features: float32 [100, 128, 7, 7]" in printed["roi_features"]
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
        count = len(result["scores"])
        assert 0 < count <= 100
        assert result["boxes"].shape == (count, 4)
        assert result["masks"].shape == (count, 1, *image.shape[-2:])
        assert result["labels"].dtype == torch.int64
        assert result["labels"].min() >= 1
        assert result["labels"].max() <= 5
        assert (result["scores"].diff() <= 0).all()
        assert result["masks"].min() >= 0
        assert result["masks"].max() <= 1
        height, width = image.shape[-2:]
        assert (result["boxes"] >= 0).all()
        assert (result["boxes"] <= torch.tensor([width, height, width, height]) + 1e-4).all()


@pytest.mark.parametrize("margin", [0.0, 0.25])
def test_masks_are_predicted_in_boxes_grown_by_the_margin(margin):
    torch.manual_seed(0)
    model = MaskRCNN(Config.lisc(min_size=96, max_size=128, score_threshold=0.0, mask_margin=margin)).eval()
    image, target = sample()
    with torch.no_grad():
        model.mask_head.mask_logits.bias.fill_(100.0)  # all of the box is cell
        result = model([image])[0]
        learning = dict(model.stages([image], [target]))
    rows, columns = torch.meshgrid(torch.arange(96) + 0.5, torch.arange(128) + 0.5, indexing="ij")
    for (x1, y1, x2, y2), mask in zip(result["boxes"][:10].tolist(), result["masks"][:10, 0], strict=True):
        dx, dy = margin * (x2 - x1), margin * (y2 - y1)
        inside = (columns > x1 - dx) & (columns < x2 + dx) & (rows > y1 - dy) & (rows < y2 + dy)
        # At the edge of the box a mask fades out over its last half bin.
        assert ((mask > 0.5) & ~inside).sum() == 0
        assert (mask > 0.5).sum() > 0.8 * inside.sum()
    # In training the ground-truth box is one of the RoIs: of a disc it holds pi / 4, of a larger box accordingly less.
    positives = learning["rois"].positives().boxes[0]
    exact = (positives - target["boxes"]).abs().amax(dim=1).argmin()
    assert torch.equal(positives[exact], target["boxes"][0])
    share = float(learning["mask_targets"].masks[exact].mean())
    assert share == pytest.approx(torch.pi / 4 / (1 + 2 * margin) ** 2, abs=0.01)


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


def test_a_batch_gives_what_its_images_give_alone():
    """Of different sizes, but one padded size: GroupNorm and borders see the padding, so only then is it exact."""
    torch.manual_seed(0)
    config = Config.lisc(min_size=96, max_size=128, score_threshold=0.0, detections_per_image=20)
    model = MaskRCNN(config).eval()
    images = [sample(96, 122)[0], sample(91, 128)[0]]
    with torch.no_grad():
        sizes = [batch.sizes for batch in (dict(model.stages([image]))["images"] for image in images)]
        together, alone = model(images), [model([image])[0] for image in images]
    assert sizes == [[(96, 122)], [(91, 128)]]
    for a, b in zip(together, alone):
        # Random weights give many boxes of nearly equal scores, whose order float32 does not settle.
        torch.testing.assert_close(a["scores"], b["scores"], atol=1e-5, rtol=0)
        assert (torch.cdist(a["boxes"], b["boxes"]).min(dim=1).values < 1e-2).float().mean() > 0.9


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


def test_it_learns_one_image():
    """From random weights to the right class, box and mask of one disc."""
    torch.manual_seed(0)
    image, target = sample()
    model = MaskRCNN(Config.lisc(min_size=72, max_size=96, size_divisor=32)).train()
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
