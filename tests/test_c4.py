"""The C4 models (He et al. 2017, fig. 4 left): against a Mask R-CNN made of torchvision's parts, and on their own.

`pytest -rP tests/test_c4.py` prints the largest difference of each kind.
"""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torchvision.models import get_model, resnet50
from torchvision.models.detection import MaskRCNN as TorchvisionMaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign, roi_align

from benchmarks.speed.torchvision_pair import ellipse_targets, scatter_weights, smooth_images
from maskrcnn import Config, MaskRCNN
from maskrcnn.heads import C4BoxHead, C4MaskHead
from maskrcnn.inference.detect import predict
from maskrcnn.inference.scale import TrainingScale
from maskrcnn.roi import RoIFeatures
from maskrcnn.weights import load, load_checkpoint, save_checkpoint

NUM_CLASSES = 6  # with background
NUMBERS = {  # of both sides
    "min_size": 256,
    "max_size": 427,
    "rpn_pre_nms_top_n_train": 500,
    "rpn_pre_nms_top_n_test": 500,
    "rpn_post_nms_top_n_train": 40,
    "rpn_post_nms_top_n_test": 40,
    # More than there are: all anchors and all RoIs are in the sample, so that it is the same on both sides.
    "rpn_batch_size_per_image": 10**6,
    "box_batch_size_per_image": 512,
}


@pytest.fixture(scope="module")
def pair():
    """A C4 model made of torchvision's ResNet-50, RPN, RoIAlign and losses; ours; and the ResNet as a classifier."""
    torch.manual_seed(0)
    classifier = resnet50(weights=None, norm_layer=partial(FrozenBatchNorm2d, eps=0.0))
    trunk = nn.Sequential(*list(classifier.children())[:7])  # conv1, bn1, relu, maxpool, layer1, layer2, layer3
    trunk.out_channels = 1024
    theirs = TorchvisionMaskRCNN(
        trunk,
        rpn_anchor_generator=AnchorGenerator(((32, 64, 128, 256, 512),), ((0.5, 1.0, 2.0),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 14, 2),
        box_head=nn.Sequential(classifier.layer4, nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        box_predictor=FastRCNNPredictor(2048, NUM_CLASSES),
        mask_roi_pool=MultiScaleRoIAlign(["0"], 14, 2),
        mask_head=classifier.layer4,
        mask_predictor=MaskRCNNPredictor(2048, 256, NUM_CLASSES),
        **NUMBERS,
    )
    scatter_weights(theirs, NUM_CLASSES)
    spread_classes(theirs)
    for layer in list(trunk)[:5]:  # the default of Config: stem and res2 are frozen
        layer.requires_grad_(False)
    names = tuple("abcde")
    ours = MaskRCNN(
        Config.paper(
            "R50-C4", names, size_divisible=32, mask_interpolation="nearest", norm_eps=0.0, anchor_offset=0.0,
            round_anchors=True, roi_align_half_pixel=False, **NUMBERS,
        )
    )  # fmt: skip
    report = load(ours, classifier.state_dict())
    assert report.unexpected == []
    copy_heads(theirs, ours)
    return theirs.eval(), ours.eval(), classifier


@torch.no_grad()
def spread_classes(theirs):
    """Subtract the mean logits, which the features have in common (all of them are positive), and scale what is left: else
    one class wins everywhere."""
    predictor, logits = theirs.roi_heads.box_predictor.cls_score, []
    hook = predictor.register_forward_hook(lambda _module, _inputs, output: logits.append(output))
    theirs.eval()(smooth_images((240, 320)))
    hook.remove()
    scale = 2 / logits[0].std(dim=0)
    predictor.bias.copy_(scale * (predictor.bias - logits[0].mean(dim=0)))
    predictor.weight.mul_(scale[:, None])


def same_layers(theirs, ours):
    """Pairs of layers behind the trunk that have the same weights."""
    return [
        (theirs.rpn.head.conv[0][0], ours.rpn_head.conv),
        (theirs.rpn.head.cls_logits, ours.rpn_head.objectness),
        (theirs.rpn.head.bbox_pred, ours.rpn_head.deltas),
        (theirs.roi_heads.box_predictor.cls_score, ours.box_head.class_logits),
        (theirs.roi_heads.box_predictor.bbox_pred, ours.box_head.box_deltas),
        (theirs.roi_heads.mask_predictor.conv5_mask, ours.mask_head.deconv),
        (theirs.roi_heads.mask_predictor.mask_fcn_logits, ours.mask_head.mask_logits),
    ]


@torch.no_grad()
def copy_heads(theirs, ours):
    for source, target in same_layers(theirs, ours):
        for name in ("weight", "bias"):
            value = getattr(source, name)
            # torchvision's mask head has a channel of background that nothing reads
            getattr(target, name).copy_(value[1:] if target is ours.mask_head.mask_logits else value)


def relative(ours, theirs):
    """Largest difference, as a fraction of the largest value."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


def absolute(ours, theirs):
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max()) if ours.numel() else 0.0


def report(differences):
    """Print every largest difference beside the one allowed, then assert."""
    for name, (difference, allowed) in differences.items():
        print(f"{name:<28} {difference:.1e}  (allowed {allowed:.0e})")
    for name, (difference, allowed) in differences.items():
        assert difference <= allowed, name


@pytest.fixture(scope="module")
def detection(pair):
    """Two images through both: what theirs returns, C4, objectness and proposals of theirs, and all stages of ours."""
    theirs, ours, _ = pair
    recorded = {}
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: recorded.__setitem__(name, output))
        for name, module in {"c4": theirs.backbone, "head": theirs.rpn.head, "rpn": theirs.rpn}.items()
    ]
    images = smooth_images((240, 320), (288, 224))
    with torch.inference_mode():
        expected = theirs(images)
        stages = dict(ours.stages(images))
    for hook in hooks:
        hook.remove()
    objectness = recorded["head"][0][0].permute(0, 2, 3, 1).flatten(1)
    return expected, (recorded["c4"], objectness, recorded["rpn"][0]), stages


def test_features_objectness_and_proposals_agree_with_torchvisions_parts(detection):
    _, (c4, objectness, expected), stages = detection
    assert stages["features"].names == ("C4",)
    proposals = stages["proposals"].boxes
    assert [len(boxes) for boxes in proposals] == [len(boxes) for boxes in expected] == [40, 40]
    report(
        {
            "C4": (relative(stages["features"].maps[0], c4), 1e-4),
            "objectness": (relative(stages["rpn"].objectness, objectness), 1e-4),
            "proposals, pixels": (absolute(torch.cat(proposals), torch.cat(expected)), 1e-2),
        }
    )


@torch.inference_mode()
def test_the_heads_agree_with_torchvisions_layer4_on_rois(pair, detection):
    """layer4 is res5. Here RoIAlign and layers are applied one after the other, as fig. 4 shows them."""
    theirs, ours, classifier = pair
    _, (c4, *_), stages = detection
    x = classifier.layer4(roi_align(c4, stages["proposals"].boxes, 14, 1 / 16, 2))  # [R, 2048, 7, 7]
    class_logits, box_deltas = theirs.roi_heads.box_predictor(x.mean((2, 3)))
    of_masks = classifier.layer4(roi_align(c4, stages["detections"].boxes, 14, 1 / 16, 2))
    labels = torch.cat(stages["detections"].labels)
    mask_logits = theirs.roi_heads.mask_predictor(of_masks)[torch.arange(len(labels)), labels]
    assert mask_logits.shape[1:] == (14, 14) == (ours.config.mask_size,) * 2
    report(
        {
            "res5 of the RoIs": (relative(stages["roi_features"].roi_features, x), 1e-4),
            "class logits": (relative(stages["box_head"].class_logits, class_logits), 1e-4),
            "box deltas": (relative(stages["box_head"].box_deltas.flatten(1), box_deltas), 1e-4),
            "mask logits, 14 x 14": (absolute(stages["mask_head"].select_class(), mask_logits), 1e-3),
        }
    )


def test_detections_and_masks_agree_with_a_model_of_torchvisions_parts(detection):
    expected, _, stages = detection
    results = stages["results"]
    assert sum(len(r["scores"]) for r in expected) >= 20  # else the rest would say little
    assert len(torch.cat([r["labels"] for r in expected]).unique()) >= 3
    assert [r["labels"].tolist() for r in results] == [r["labels"].tolist() for r in expected]
    assert [r["masks"].shape for r in results] == [r["masks"].shape for r in expected]
    differences = {}
    for name, allowed in (("boxes", 1e-2), ("scores", 1e-4)):
        mine, other = (torch.cat([r[name] for r in side]) for side in (results, expected))
        differences[f"{name} of results"] = (absolute(mine, other), allowed)
    report(differences)


def gradients_of_the_classifier(ours):
    """{torchvision's name: gradient} of our ResNet, by a table written for this test."""
    renamed = {}
    for name, parameter in ours.backbone.resnet.named_parameters():
        if parameter.grad is not None:
            group, rest = name.split(".", 1)
            rest = rest.replace("shortcut", "downsample")
            renamed[f"layer{int(group[3]) - 1}.{rest}"] = parameter.grad
    return renamed


def test_the_losses_of_a_training_step_and_the_gradients_of_res5_agree(pair):
    theirs, ours = (copy.deepcopy(module) for module in pair[:2])
    layer4 = theirs.roi_heads.mask_head
    assert layer4 is theirs.roi_heads.box_head[0]
    theirs.train()
    ours.train()
    sizes = [(240, 320), (288, 224)]
    images, targets = smooth_images(*sizes), ellipse_targets(sizes, NUM_CLASSES)
    expected, actual = theirs(images, targets), ours(images, targets)
    assert actual.keys() == expected.keys()
    assert all(loss > 0 for loss in expected.values())
    differences = {name: (absolute(actual[name].detach(), expected[name].detach()), 1e-4) for name in expected}

    sum(expected.values()).backward()
    sum(actual.values()).backward()
    of_resnet = {f"layer4.{name}": p.grad for name, p in layer4.named_parameters()}
    for number, layer in ((2, theirs.backbone[5]), (3, theirs.backbone[6])):
        of_resnet |= {f"layer{number}.{name}": p.grad for name, p in layer.named_parameters()}
    mine = gradients_of_the_classifier(ours)
    assert mine.keys() == of_resnet.keys()
    assert sum(name.startswith("layer4.") for name in mine) == 10  # 3 blocks of 3 convolutions, and one shortcut
    for group in ("layer2", "layer3", "layer4"):
        of_group = [n for n in mine if n.startswith(group)]
        worst = max(float((mine[n] - of_resnet[n]).norm() / of_resnet[n].norm()) for n in of_group)
        differences[f"gradients of {group}"] = (worst, 1e-3)
    heads = []
    for other, layer in same_layers(theirs, ours):
        of_other = other.weight.grad[1:] if layer is ours.mask_head.mask_logits else other.weight.grad
        heads.append(float((layer.weight.grad - of_other).norm() / of_other.norm()))
    differences["gradients of the heads"] = (max(heads), 1e-3)
    report(differences)


# The rest is about a C4 model with a ResNet-18, which takes a fraction of the time.

TINY = {"backbone": "resnet18", "norm": "groupnorm", "frozen_stages": 0, "min_size": 64, "max_size": 96}


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return MaskRCNN(Config.paper("R50-C4", **TINY, rpn_post_nms_top_n_test=20, box_score_thresh=0.0)).eval()


@pytest.fixture
def res5_runs(tiny):
    """How many RoIs each call of res5 was for."""
    runs = []
    tiny.backbone.resnet.res5.register_forward_hook(lambda _module, inputs, _output: runs.append(len(inputs[0])))
    return runs


def test_the_stages_have_the_same_names_as_those_of_fpn(tiny, image, objects):
    fpn = MaskRCNN(Config(**TINY, rpn_post_nms_top_n_train=20, rpn_post_nms_top_n_test=20)).eval()
    with torch.no_grad():
        for targets in (None, [objects]):
            assert [name for name, _ in tiny.stages([image], targets)] == [n for n, _ in fpn.stages([image], targets)]


def test_the_image_goes_through_res4_once_and_only_rois_through_res5(tiny, res5_runs, image):
    with torch.no_grad():
        stages = dict(tiny.stages([image]))
    height, width = stages["images"].pixels.shape[-2:]
    assert [list(m.shape) for m in stages["features"].maps] == [[1, 256, height // 16, width // 16]]
    assert stages["anchors"].boxes.shape[0] == 15 * (height // 16) * (width // 16)
    assert stages["roi_features"].roi_features.shape[1:] == (512, 7, 7)
    proposals, detections = len(stages["proposals"].boxes[0]), len(stages["detections"].boxes[0])
    assert 0 < detections != proposals
    assert res5_runs == [proposals, detections]  # masks see the detected boxes, for which res5 runs again
    assert stages["mask_head"].mask_logits.shape == (detections, 5, 14, 14)


def test_in_training_res5_runs_once_and_the_masks_get_the_positives_rows_of_its_output(tiny, res5_runs, image, objects):
    torch.manual_seed(1)
    stages = dict(tiny.stages([image, image.flip(2)], [objects, objects]))
    rois, boxes, masks = stages["rois"], stages["roi_features"], stages["mask_roi_features"]
    assert res5_runs == [len(torch.cat(rois.labels))]
    positive = torch.cat(rois.labels) > 0
    assert 2 <= positive.sum() < len(positive)
    assert masks.roi_features.equal(boxes.roi_features[positive])
    assert masks.levels.equal(boxes.levels[positive])
    # They are what res5 makes of the positive boxes themselves.
    features, positives = stages["features"], rois.positives()
    alone = tiny.roi_extractor.of_masks(features, positives.boxes).roi_features
    torch.testing.assert_close(masks.roi_features, alone, atol=1e-4, rtol=1e-4)


def test_the_limit_of_mask_rois_takes_the_first_positives_of_each_image(image, objects):
    torch.manual_seed(0)
    model = MaskRCNN(Config.paper("R50-C4", **TINY, mask_batch_size_per_image=1))
    two = {name: torch.cat([value, value]) for name, value in objects.items()}
    stages = dict(model.stages([image, image.flip(2)], [two, two]))
    counts = [len(labels) for labels in stages["rois"].labels]
    assert min(labels.gt(0).sum() for labels in stages["rois"].labels) >= 2  # ground truth is among the proposals
    rows = torch.tensor([0, counts[0]])  # positives come first
    assert stages["mask_roi_features"].roi_features.equal(stages["roi_features"].roi_features[rows])
    assert len(stages["mask_targets"].masks) == 2


def test_rows_of_positives_are_found_in_any_order(tiny):
    of_boxes = RoIFeatures(torch.arange(5.0)[:, None, None, None], torch.arange(5))
    labels = [torch.tensor([0, 3, 0]), torch.tensor([1, 2])]
    kept = tiny.roi_extractor.of_positives(None, [torch.zeros(1, 4), torch.zeros(1, 4)], of_boxes, labels)
    assert kept.levels.tolist() == kept.roi_features.flatten().tolist() == [1, 3]


def test_all_five_losses_give_gradients_and_those_of_boxes_and_masks_reach_res5(tiny, image, objects):
    tiny.train()
    res5 = list(tiny.backbone.resnet.res5.parameters())
    for name, reaches in (
        ("loss_classifier", True),
        ("loss_box_reg", True),
        ("loss_mask", True),
        ("loss_objectness", False),
        ("loss_rpn_box_reg", False),
    ):
        torch.manual_seed(1)
        loss = tiny([image], [objects])[name]
        assert loss.isfinite()
        gradients = torch.autograd.grad(loss, res5, allow_unused=True)
        assert [g is not None and bool(g.abs().sum() > 0) for g in gradients] == [reaches] * len(res5)


@pytest.mark.parametrize("norm", ["frozen_batchnorm", "groupnorm"])
def test_an_image_without_objects_trains(norm, image, nothing):
    torch.manual_seed(0)
    model = MaskRCNN(Config.paper("R50-C4", **{**TINY, "norm": norm})).train()
    losses = model([image], [nothing])
    assert all(loss.isfinite() for loss in losses.values())
    assert losses["loss_mask"] == 0
    sum(losses.values()).backward()
    assert model.mask_head.deconv.weight.grad.eq(0).all()
    assert model.backbone.resnet.res5[1].conv2.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("norm", ["frozen_batchnorm", "batchnorm", "groupnorm"])
def test_an_image_without_proposals_or_detections_has_empty_results(norm, image):
    model = MaskRCNN(Config.paper("R50-C4", **{**TINY, "norm": norm}, rpn_min_box_size=1e6)).eval()
    with torch.no_grad():
        results = model([image, image])
    assert [list(r["masks"].shape) for r in results] == [[0, 1, 60, 80]] * 2
    assert [len(r["boxes"]) for r in results] == [0, 0]


@torch.no_grad()
def test_masks_of_given_boxes_are_those_of_the_same_detections(tiny, image):
    result = tiny([image])[0]
    assert len(result["boxes"]) > 5
    masks = tiny.masks([image], [result["boxes"]], [result["labels"]])[0]
    torch.testing.assert_close(masks, result["masks"], atol=1e-3, rtol=0)
    assert tiny.masks([image], [torch.zeros(0, 4)], [torch.zeros(0).long()])[0].shape == (0, 1, 60, 80)


def test_a_large_image_is_predicted_in_tiles(tiny, res5_runs, image):
    large = image.repeat(1, 4, 4)
    known = TrainingScale(1.0, True, (64, 96), (10.0,) * 7)
    found = predict(tiny, large, known=known)
    assert len(res5_runs) >= 8  # four tiles or more
    assert len(found) > 0
    assert found.size == (240, 320)
    assert (found.boxes[:, 2] > 200).any()


def test_a_copy_of_the_model_runs_its_own_res5(tiny, image):
    other = copy.deepcopy(tiny)
    assert other.roi_extractor.res5 is other.backbone.resnet.res5
    with torch.no_grad():
        before = tiny([image])[0]["scores"]
        for parameter in other.backbone.resnet.res5.parameters():
            parameter.zero_()
        assert not other([image])[0]["scores"].equal(before)
        assert tiny([image])[0]["scores"].equal(before)


def test_a_checkpoint_keeps_the_architecture_and_every_weight_has_one_name(tiny, tmp_path, image):
    names = [name for name in tiny.state_dict() if ".res5." in name]
    assert names
    assert all(name.startswith("backbone.resnet.res5.") for name in names)
    save_checkpoint(tmp_path / "c4.pth", tiny)
    restored, _ = load_checkpoint(tmp_path / "c4.pth")
    restored.eval()
    assert restored.config == tiny.config
    with torch.no_grad():
        assert restored([image])[0]["scores"].equal(tiny([image])[0]["scores"])


@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
def test_a_classifier_of_torchvision_fills_the_whole_resnet_with_res5(name):
    with torch.device("meta"):
        shapes = get_model(name, weights=None).state_dict()
        model = MaskRCNN(Config.paper({"resnet50": "R50-C4", "resnet101": "R101-C4"}[name]))
    state = {key: torch.full(value.shape, 0.5) for key, value in shapes.items() if "tracked" not in key}
    model.to_empty(device="cpu")
    with torch.no_grad():
        for value in model.state_dict().values():
            value.fill_(2.0)
    load(model, state)
    filled = {key for key, value in model.state_dict().items() if value.eq(0.5).all()}
    assert filled == {key for key in model.state_dict() if key.startswith("backbone.")}
    assert "backbone.resnet.res5.2.conv3.weight" in filled


def test_the_box_head_is_the_mean_over_the_roi_and_two_linear_layers():
    torch.manual_seed(0)
    head = C4BoxHead(8, 3)
    roi_features = torch.randn(5, 8, 7, 7)
    prediction = head(roi_features)
    mean = roi_features.flatten(2).sum(2) / 49
    torch.testing.assert_close(prediction.class_logits, mean @ head.class_logits.weight.T)
    torch.testing.assert_close(prediction.box_deltas.flatten(1), mean @ head.box_deltas.weight.T)
    shared = C4BoxHead(8, 3, class_agnostic=True)(roi_features).box_deltas
    assert shared.shape == (5, 4, 4)
    assert shared[:, 0].equal(shared[:, 3])
    assert C4BoxHead(8, 3)(roi_features[:0]).box_deltas.shape == (0, 4, 4)


def test_the_mask_head_starts_at_one_half_and_a_class_agnostic_one_shares_its_mask():
    torch.manual_seed(0)
    labels = torch.tensor([1, 2, 3])
    mask = C4MaskHead(8, 16, 3)(torch.randn(3, 8, 7, 7), labels)
    assert mask.mask_logits.shape == (3, 3, 14, 14)
    torch.testing.assert_close(mask.probabilities(), torch.full((3, 14, 14), 0.5), atol=0.01, rtol=0)
    assert not mask.mask_logits[:, 0].equal(mask.mask_logits[:, 1])
    shared = C4MaskHead(8, 16, 3, class_agnostic=True)(torch.randn(3, 8, 7, 7), labels).mask_logits
    assert shared.shape == (3, 3, 14, 14)
    assert shared[:, 0].equal(shared[:, 2])
