"""Non-maximum suppression against torchvision's, index for index, and against the greedy rule written as a loop."""

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from maskrcnn.boxes import iou
from maskrcnn.rpn.nms import batched_nms, nms


def scattered(n, seed=0):
    """Boxes of 10 to 100 px in an image of 600 px, some of them beyond its edge."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(n, 2, generator=generator) * 600 - 50
    boxes = torch.cat([start, start + torch.rand(n, 2, generator=generator) * 90 + 10], dim=1)
    return boxes, torch.rand(n, generator=generator)


def clustered(n, spread=0.1, seed=0):
    """Boxes around 20 objects."""
    objects, scores = scattered(20, seed)[0], scattered(n, seed)[1]
    generator = torch.Generator().manual_seed(seed)
    boxes = objects[torch.randint(20, (n,), generator=generator)]
    size = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    return boxes + spread * size * torch.randn(n, 4, generator=generator), scores


def greedy(boxes, scores, threshold):
    kept = []
    for i in scores.sort(descending=True, stable=True).indices.tolist():
        if not kept or (iou(boxes[i : i + 1], boxes[kept])[0] <= threshold).all():
            kept.append(i)
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 0.99])
@pytest.mark.parametrize("make", [scattered, clustered])
@pytest.mark.parametrize("n", [0, 1, 2, 127, 128, 129, 700, 2000])
def test_kept_are_torchvisions(make, n, threshold):
    boxes, scores = make(n)
    assert torch.equal(nms(boxes, scores, threshold), torchvision.ops.nms(boxes, scores, threshold))


@pytest.mark.parametrize("make", [scattered, clustered])
def test_five_thousand_boxes(make):
    boxes, scores = make(5000)
    assert torch.equal(nms(boxes, scores, 0.7), torchvision.ops.nms(boxes, scores, 0.7))


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_kept_are_those_of_the_greedy_rule(threshold):
    boxes, scores = clustered(300, 0.3)
    assert nms(boxes.double(), scores, threshold).tolist() == greedy(boxes.double(), scores, threshold)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_scores_keep_their_order(dtype):
    boxes, scores = clustered(1000)
    boxes, scores = boxes.to(dtype), (scores * 5).floor().to(dtype)
    assert torch.equal(nms(boxes, scores, 0.5), torchvision.ops.nms(boxes, scores, 0.5))
    assert nms(boxes[:1].expand(300, 4), torch.ones(300), 0.5).tolist() == [0]


def test_a_long_chain_is_decided_from_its_best_end():
    # Each box overlaps its neighbours by 3 / 5 and no other by more than 1 / 3: every second one stays.
    x = torch.arange(1000.0)
    boxes = torch.stack([x, torch.zeros(1000), x + 4, torch.ones(1000)], dim=1)
    assert nms(boxes, -x, 0.5).tolist() == list(range(0, 1000, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tenths", range(1, 10))
def test_an_iou_at_the_threshold(tenths, dtype):
    # 0.3 as float32 is above 0.3: torchvision compares in double, so such a box goes, while 0.7 as float32 stays.
    boxes = torch.tensor([[0, 0, 10, 1], [0, 0, tenths, 1]], dtype=dtype)
    scores = torch.tensor([0.9, 0.8], dtype=dtype)
    assert torch.equal(nms(boxes, scores, tenths / 10), torchvision.ops.nms(boxes, scores, tenths / 10))


def test_only_above_the_threshold_is_too_much():
    boxes = torch.tensor([[0.0, 0, 2, 1], [0, 0, 1, 1], [0, 0, 1.01, 1]])
    assert nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist() == [0, 1]


def test_touching_negative_and_empty_boxes():
    boxes = torch.tensor(
        [[0.0, 0, 2, 2], [2, 0, 4, 2], [-4, -4, -2, -2], [-4, -4, -2, -2.1], [1, 1, 1, 1], [1, 1, 1, 1], [3, 3, 2, 2]]
    )
    scores = torch.linspace(1, 0, 7)
    assert nms(boxes, scores, 0.5).tolist() == [0, 1, 2, 4, 5, 6]
    for threshold in (0.0, 0.5):
        assert torch.equal(nms(boxes, scores, threshold), torchvision.ops.nms(boxes, scores, threshold))


@pytest.mark.parametrize("max_kept", [0, 1, 50, 300, 10_000])
def test_the_best_few(max_kept):
    boxes, scores = scattered(1000)
    groups = torch.arange(1000) % 7
    assert torch.equal(nms(boxes, scores, 0.5, max_kept), nms(boxes, scores, 0.5)[:max_kept])
    some = batched_nms(boxes, scores, groups, 0.5, max_kept)
    assert torch.equal(some, batched_nms(boxes, scores, groups, 0.5)[:max_kept])


@pytest.mark.parametrize("n_groups", [1, 2, 5, 80])
@pytest.mark.parametrize("n", [0, 1, 300, 2500])
@pytest.mark.parametrize("make", [scattered, clustered])
def test_groups_do_not_touch_each_other(make, n, n_groups):
    boxes, scores = make(n)
    scores = (scores * 500).floor()  # with ties, within groups and across them
    groups = torch.randint(n_groups, (n,), generator=torch.Generator().manual_seed(5)) * 3 - 4
    kept = torch.zeros(n, dtype=torch.bool)
    for group in groups.unique():
        index = (groups == group).nonzero()[:, 0]
        kept[index[torchvision.ops.nms(boxes[index], scores[index], 0.5)]] = True
    order = scores.sort(descending=True, stable=True).indices
    assert torch.equal(batched_nms(boxes, scores, groups, 0.5), order[kept[order]])


def test_groups_lose_no_precision_far_from_the_origin():
    # With offsets of 80 groups x 2e5 px, float32 knows coordinates to one pixel only, and these two would be equal.
    box = torch.tensor([[2e5, 2e5, 2e5 + 1, 2e5 + 1], [2e5 + 0.5, 2e5, 2e5 + 1.5, 2e5 + 1]])
    assert batched_nms(box, torch.tensor([0.9, 0.8]), torch.tensor([79, 79]), 0.5).tolist() == [0, 1]


def test_inputs_are_left_as_they_were():
    boxes, scores = clustered(400)
    before = boxes.clone(), scores.clone()
    batched_nms(boxes, scores, torch.zeros(400, dtype=torch.int64), 0.5)
    assert torch.equal(boxes, before[0])
    assert torch.equal(scores, before[1])


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\[N, 4\]"):
        nms(torch.zeros(3, 5), torch.zeros(3), 0.5)
    with pytest.raises(ValueError, match="floating-point"):
        nms(torch.zeros(3, 4, dtype=torch.int64), torch.zeros(3), 0.5)
    with pytest.raises(ValueError, match="each of 3 boxes"):
        nms(torch.zeros(3, 4), torch.zeros(2), 0.5)
    with pytest.raises(ValueError, match="one group"):
        batched_nms(torch.zeros(3, 4), torch.zeros(3), torch.zeros(2), 0.5)


# Few different coordinates and scores, so that equal boxes, ties, empty boxes and IoUs at the threshold are frequent.
box = st.tuples(*[st.integers(-3, 3)] * 2, *[st.integers(0, 4)] * 2).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)
scored_boxes = st.lists(st.tuples(box, st.integers(0, 3), st.integers(0, 2)), max_size=30)
thresholds = st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.75, 1.0])


def unpack(rows):
    boxes = torch.tensor([box for box, _, _ in rows], dtype=torch.float64).reshape(-1, 4)
    return boxes, torch.tensor([s for _, s, _ in rows], dtype=torch.float64), torch.tensor([g for *_, g in rows]).long()


@given(scored_boxes, thresholds)
def test_any_boxes_are_kept_by_the_greedy_rule(rows, threshold):
    boxes, scores, _ = unpack(rows)
    assert nms(boxes, scores, threshold).tolist() == greedy(boxes, scores, threshold)


@given(scored_boxes, thresholds)
def test_what_is_kept_is_kept_again_and_overlaps_no_more_than_allowed(rows, threshold):
    boxes, scores, groups = unpack(rows)
    kept = batched_nms(boxes, scores, groups, threshold)
    assert batched_nms(boxes[kept], scores[kept], groups[kept], threshold).tolist() == list(range(len(kept)))
    same_group = groups[kept][:, None] == groups[kept]
    assert not ((iou(boxes[kept], boxes[kept]) > threshold) & same_group).triu(1).any()
    assert (scores[kept].diff() <= 0).all()
