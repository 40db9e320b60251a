import pytest
import torch
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure

from maskrcnn import Config, MaskRCNN
from maskrcnn import visualize as v
from maskrcnn.backbone import Features
from maskrcnn.boxes import iou
from maskrcnn.heads import BoxPrediction, Detections, MaskPrediction, MaskTargets
from maskrcnn.roi import RoIs, roi_align
from maskrcnn.rpn import AnchorGenerator, Anchors, Proposals, RPNPrediction, RPNTargets

NAMES = ("round", "square")


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture
def anchors():
    """Two levels of an image of 32 x 64: stride 8, 4 x 8 cells; stride 32, 1 x 2 cells. Two shapes a cell."""
    generator = AnchorGenerator([(8,), (32,)], (1.0, 4.0))
    return generator([torch.empty(1, 1, 4, 8), torch.empty(1, 1, 1, 2)], (32, 64))


@pytest.fixture(scope="module")
def stages():
    """Every output of both ways of a model with random weights, for an image of 70 x 90 with one object."""
    torch.manual_seed(0)
    config = Config.lisc(NAMES, min_size=64, max_size=96, backbone="resnet18", score_threshold=0.0)
    model = MaskRCNN(config).eval()
    image = torch.rand(3, 70, 90)
    mask = torch.zeros(1, 70, 90)
    mask[0, 10:50, 20:60] = 1
    target = {"boxes": torch.tensor([[20.0, 10, 60, 50]]), "labels": torch.tensor([2]), "masks": mask}
    with torch.no_grad():
        return model, image, dict(model.stages([image])), dict(model.stages([image], [target]))


def boxes_of(ax):
    """Corners of all boxes in collections, collection after collection."""
    found = []
    for collection in ax.collections:
        if isinstance(collection, PatchCollection):
            for path in collection.get_paths():
                (x1, y1), (x2, y2) = path.vertices.min(axis=0), path.vertices.max(axis=0)
                found.append([x1, y1, x2, y2])
    return found


def test_every_stage_has_a_picture_on_the_axes_given(stages):
    model, image, out, learning = stages
    pictures = [
        lambda ax: v.draw_batch(ax, out["images"], model.transform),
        lambda ax: v.draw_features(ax, out["features"], level=1, channel=3),
        lambda ax: v.draw_anchors(ax, out["anchors"], (40, 30)),
        lambda ax: v.draw_objectness(ax, out["rpn"], out["anchors"], level=2),
        lambda ax: v.draw_deltas(ax, out["rpn"], out["anchors"]),
        lambda ax: v.draw_rpn_targets(ax, learning["rpn_targets"], learning["anchors"]),
        lambda ax: v.draw_proposals(ax, out["proposals"]),
        lambda ax: v.draw_suppression(ax, out["proposals"].boxes[0], out["proposals"].objectness[0], 0.3),
        lambda ax: v.draw_rois(ax, learning["rois"], NAMES),
        lambda ax: v.draw_roi_levels(ax, out["proposals"].boxes[0], out["roi_features"].levels),
        lambda ax: v.draw_class_scores(ax, out["box_head"], 0, NAMES),
        lambda ax: v.draw_mask_target(ax, learning["mask_targets"], 0),
        lambda ax: v.draw_mask_logits(ax, learning["mask_head"], 0),
        lambda ax: v.draw_pasted(ax, image, out["results"][0]),
        lambda ax: v.draw_detections(ax, out["detections"], NAMES),
        lambda ax: v.draw_losses(ax, learning["losses"]),
    ]
    for draw in pictures:
        figure = Figure()
        ax = figure.subplots()
        assert draw(ax) is ax
        assert ax.has_data() or ax.collections
        figure.canvas.draw()  # nothing that was drawn is beyond what matplotlib can render


def test_a_batch_is_shown_in_the_colours_of_its_image(stages, ax):
    model = stages[0]
    image = torch.rand(3, 64, 80)  # the size that it has in the batch, which is padded to 96
    batch = model.transform.batch([image])
    shown = v.draw_batch(ax, batch, model.transform).images[0].get_array()
    assert shown.shape == (64, 96, 3)
    assert abs(torch.as_tensor(shown)[:, :80].permute(2, 0, 1) - image).max() < 1e-5
    frame = ax.patches[0]
    assert (frame.get_width(), frame.get_height()) == (80, 64)


def test_features_are_one_channel_or_the_root_mean_square_of_all(ax):
    maps = torch.zeros(2, 2, 1, 3)
    maps[1] = torch.tensor([[[3.0, 0, 1]], [[4.0, 0, 7]]])
    features = Features(("P2",), (maps,), (4,))
    both, one = (v.draw_features(ax, features, 0, 1, channel).images[-1] for channel in (None, 1))
    assert both.get_array()[0].tolist() == pytest.approx([12.5**0.5, 0, 5])
    assert one.get_array()[0].tolist() == [4, 0, 7]
    assert both.get_extent() == [0, 12, 4, 0]  # pixels of the image


@pytest.mark.parametrize(("level", "shape", "stride"), [(0, (4, 8, 2, 4), 8), (1, (1, 2, 2, 4), 32)])
def test_the_grid_of_a_level(anchors, level, shape, stride):
    grid = v.grid_of(anchors, level)
    assert grid.boxes.shape == shape
    assert grid.stride == stride
    centres = (grid.boxes[..., :2] + grid.boxes[..., 2:]) / 2
    for row, column in ((0, 0), (shape[0] - 1, shape[1] - 1)):
        assert centres[row, column].tolist() == [[stride * (column + 0.5), stride * (row + 0.5)]] * 2


def test_a_level_of_one_cell_has_twice_the_stride_of_the_one_before():
    generator = AnchorGenerator([(8,), (16,)], (1.0,))
    anchors = generator([torch.empty(1, 1, 2, 1), torch.empty(1, 1, 1, 1)], (16, 8))
    assert [v.grid_of(anchors, level).stride for level in range(2)] == [8, 16]


def test_the_anchors_of_the_cell_around_a_point(anchors, ax):
    v.draw_anchors(ax, anchors, (20.5, 9.0), levels=[0])  # in column 2, row 1: centre (20, 12)
    assert boxes_of(ax) == [[16, 8, 24, 16], [18, 4, 22, 20]]  # the second is four times as high as it is wide
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["P2: 2 a place"]


def test_objectness_is_the_best_of_a_cells_anchors(anchors, ax):
    logits = torch.full((1, 68), -9.0)
    logits[0, 2 * (8 * 3 + 5) + 1] = 0.0  # level 0, row 3, column 5, second shape
    heat = v.draw_objectness(ax, RPNPrediction(logits, torch.zeros(1, 68, 4)), anchors, 0).images[0]
    assert heat.get_array().shape == (4, 8)
    assert heat.get_array()[3, 5] == pytest.approx(0.5)
    assert heat.get_array().sum() < 0.51
    assert heat.get_extent() == [0, 64, 32, 0]


def test_deltas_are_arrows_from_the_anchor_to_its_box(anchors, ax):
    logits, deltas = torch.zeros(1, 68), torch.zeros(1, 68, 4)
    logits[0, 0] = 5.0
    deltas[0, 0] = torch.tensor([0.5, 0.25, 0.0, 0.0])  # of an anchor of 8 x 8 around (4, 4)
    v.draw_deltas(ax, RPNPrediction(logits, deltas), anchors, count=1)
    assert boxes_of(ax) == [[0, 0, 8, 8], [4, 2, 12, 10]]
    assert (ax.texts[0].xyann, ax.texts[0].xy) == ((4, 4), (8, 6))


def test_the_anchors_that_learn_are_those_of_the_image(anchors, ax):
    targets = RPNTargets(torch.tensor([0, 68]), torch.tensor([3, 4, 69, 70, 71]), torch.zeros(2, 4))
    v.draw_rpn_targets(ax, targets, anchors, image=1)
    assert boxes_of(ax) == [anchors.boxes[0].tolist()]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["3 background", "1 object"]
    x, y = ax.lines[0].get_data()
    assert list(zip(x.tolist(), y.tolist(), strict=True)) == [(4, 4), (12, 4), (12, 4)]


def test_only_the_best_proposals_are_drawn_the_best_on_top(ax):
    boxes = torch.tensor([[0.0, 0, 4, 4], [1, 1, 5, 5], [2, 2, 6, 6]])
    v.draw_proposals(ax, Proposals([boxes], [torch.tensor([0.9, 0.5, 0.1])]), count=2)
    assert boxes_of(ax) == [[1, 1, 5, 5], [0, 0, 4, 4]]
    assert ax.get_title() == "2 proposals"


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_each_box_is_struck_out_by_the_best_that_is_kept(threshold):
    generator = torch.Generator().manual_seed(1)
    corner, size = torch.rand(60, 2, generator=generator) * 40, torch.rand(60, 2, generator=generator) * 30 + 5
    boxes, scores = torch.cat([corner, corner + size], dim=1), torch.rand(60, generator=generator)
    by = [-1] * 60
    for i in scores.argsort(descending=True).tolist():  # the loop that defines NMS
        if by[i] < 0:
            by[i] = i
            for j in range(60):
                if by[j] < 0 and iou(boxes[i : i + 1], boxes[j : j + 1]).item() > threshold:
                    by[j] = i
    assert v.suppressors(boxes, scores, threshold).tolist() == by


def test_suppression_shows_who_is_kept_and_how_many_each_strikes_out(ax):
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 1, 10, 11]])
    v.draw_suppression(ax, boxes, torch.tensor([0.9, 0.8, 0.7, 0.6]), 0.5)
    assert [text.get_text() for text in ax.texts] == ["0.90, 2 out", "0.70"]
    assert ax.get_title() == "NMS at 0.5: 2 of 4 kept"
    assert boxes_of(ax) == [[1, 0, 11, 10], [0, 1, 10, 11]]


def test_rois_are_told_apart_by_class_and_by_level(ax):
    boxes = torch.tensor([[0.0, 0, 4, 4], [1, 1, 5, 5], [2, 2, 6, 6]])
    v.draw_rois(ax, RoIs([boxes], [torch.tensor([2, 0, 2])], [torch.zeros(3).long()]), NAMES)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["1 background", "2 square"]
    other = Figure().subplots()
    v.draw_roi_levels(other, boxes, torch.tensor([1, 0, 1]))
    assert [text.get_text() for text in other.get_legend().get_texts()] == ["1 from P2", "2 from P3"]
    assert boxes_of(other) == [[1, 1, 5, 5], [0, 0, 4, 4], [2, 2, 6, 6]]


@pytest.mark.parametrize(("aligned", "shift"), [(True, 0.0), (False, 0.5)])
def test_sampling_points_lie_in_the_middle_of_equal_parts_of_the_box(aligned, shift):
    points = v.sampling_points(torch.tensor([2.0, 1.0, 6.0, 4.0]), (8, 9), bins=2, samples=2, aligned=aligned)
    assert points[0, :, 0].tolist() == pytest.approx([2.5 + shift, 3.5 + shift, 4.5 + shift, 5.5 + shift])
    assert points[:, 0, 1].tolist() == pytest.approx([1 + 0.75 * (k + 0.5) + shift for k in range(4)])


def test_sampling_weights_are_bilinear_and_give_back_what_roi_align_gives():
    box = torch.tensor([1.3, 1.2, 6.4, 5.9])
    weights = v.sampling_weights(box, (8, 8), 6, 1, (2, 3))  # the point (4.275, 3.1583), worked by hand
    expected = torch.zeros(8, 8)
    expected[2, 3], expected[2, 4] = 0.341667 * 0.225, 0.341667 * 0.775
    expected[3, 3], expected[3, 4] = 0.658333 * 0.225, 0.658333 * 0.775
    assert torch.allclose(weights, expected, atol=1e-5)
    feature = torch.rand(8, 8, generator=torch.Generator().manual_seed(0))
    bins = roi_align(feature[None, None], [box[None]], 3, 1.0, 2, True)[0, 0]
    assert (v.sampling_weights(box, (8, 8), 3, 2, (1, 2)) * feature).sum() == pytest.approx(bins[1, 2].item())


def test_a_roi_shows_its_bins_points_and_the_weights_of_one(ax):
    v.draw_roi_bins(ax, torch.tensor([1.3, 1.2, 6.4, 5.9]), (8, 8), bins=3, point=(2, 3))
    assert sorted(text.get_text() for text in ax.texts) == ["0.08", "0.15", "0.26", "0.51"]
    assert sorted((patch.get_x(), patch.get_y()) for patch in ax.patches) == [(3, 2), (3, 3), (4, 2), (4, 3)]
    points = [line for line in ax.lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in points] == [36, 1]
    assert len(ax.lines) - len(points) == 2 * 4  # the edges of three bins each way


def test_class_scores_are_probabilities_with_background_first(ax):
    v.draw_class_scores(
        ax, BoxPrediction(torch.tensor([[0.0, 0.0, 2.0]]).log_softmax(1), torch.zeros(1, 3, 4)), 0, NAMES
    )
    assert [label.get_text() for label in ax.get_yticklabels()] == ["background", "round", "square"]
    assert sum(bar.get_width() for bar in ax.patches) == pytest.approx(1)
    assert ax.get_title() == "RoI 0: square"


def test_masks_are_drawn_cell_by_cell_logits_with_white_at_zero(ax):
    target = v.draw_mask_target(ax, MaskTargets(torch.tensor([[[0.0, 1.0], [0.5, 0.25]]])), 0).images[0]
    assert target.get_array().tolist() == [[0, 1], [0.5, 0.25]]
    logits = torch.zeros(1, 2, 2, 2)
    logits[0, 1, 0, 0], logits[0, 0, 0, 0] = -3.0, 7.0
    prediction = MaskPrediction(logits, torch.tensor([2]))
    own, other = (v.draw_mask_logits(ax, prediction, 0, label).images[-1] for label in (None, 1))
    assert own.get_array()[0, 0] == -3
    assert own.get_clim() == (-3, 3)
    assert other.get_array()[0, 0] == 7


def test_detections_below_the_least_score_are_not_drawn(ax):
    boxes = torch.tensor([[0.0, 20, 4, 24], [1, 21, 5, 25]])
    detections = Detections([boxes], [torch.tensor([1, 2])], [torch.tensor([0.9, 0.4])])
    v.draw_detections(ax, detections, NAMES, min_score=0.5)
    assert [text.get_text() for text in ax.texts] == ["round 0.90"]


def test_losses_are_bars_with_their_sum(ax):
    v.draw_losses(ax, {"loss_mask": torch.tensor(0.25), "loss_classifier": torch.tensor(0.5)})
    assert [bar.get_width() for bar in ax.patches] == [0.25, 0.5]
    assert ax.get_title() == "losses, 0.750 in all"


def test_anchors_with_one_level_and_one_cell_can_be_drawn(ax):
    lone = Anchors(torch.tensor([[0.0, 0, 8, 8]]), (1,))
    assert v.grid_of(lone, 0).stride == 8
    assert boxes_of(v.draw_anchors(ax, lone, (0, 0))) == [[0, 0, 8, 8]]
