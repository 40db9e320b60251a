import pytest
import torch
from torchvision.ops import box_iou

from maskrcnn.matching import BalancedSampler
from maskrcnn.roi import RoIs, RoISampler

GT = torch.tensor([[10.0, 10.0, 30.0, 30.0], [50.0, 10.0, 90.0, 40.0]])
LABELS = torch.tensor([3, 1])


def sampler(count=512, positive_fraction=0.25):
    return RoISampler(0.5, BalancedSampler(count, positive_fraction))


def random_proposals(count, seed=0):
    """Half of them close to an object, half of them anywhere."""
    generator = torch.Generator().manual_seed(seed)
    near = GT[torch.randint(2, (count // 2,), generator=generator)]
    near = near + torch.randn(count // 2, 4, generator=generator) * 3
    corner = torch.rand(count - count // 2, 2, generator=generator) * 80
    far = torch.cat([corner, corner + 5 + torch.rand(count - count // 2, 2, generator=generator) * 20], dim=1)
    return torch.cat([near, far])


@pytest.mark.parametrize("seed", range(3))
def test_labels_and_matches_follow_from_the_overlap(seed):
    rois = sampler(10_000)([random_proposals(60, seed)], [GT], [LABELS])
    boxes, labels, matched = (field[0] for field in rois)
    best, index = box_iou(GT, boxes).max(dim=0)
    assert len(boxes) == 62  # all, and the ground truth
    assert (labels > 0).equal(best >= 0.5)
    assert labels[labels > 0].equal(LABELS[index[labels > 0]])
    assert matched[labels > 0].equal(index[labels > 0])
    assert (matched >= 0).all()  # an index, meaningless where the label is 0


def test_ground_truth_joins_the_proposals():
    rois = sampler()([torch.tensor([[60.0, 60.0, 70.0, 70.0]])], [GT], [LABELS])
    positives = rois.positives()
    assert sorted(positives.boxes[0].tolist()) == sorted(GT.tolist())
    assert positives.boxes[0].equal(GT[positives.matched[0]])


def test_a_proposal_of_iou_one_half_is_an_object():
    # 10 of the object's 20 columns, nothing else: exactly 0.5. One column less is background.
    proposals = torch.tensor([[10.0, 10.0, 20.0, 30.0], [10.0, 10.0, 19.0, 30.0]])
    rois = sampler()([proposals], [GT[:1]], [LABELS[:1]])
    labels = {tuple(box): label for box, label in zip(rois.boxes[0].tolist(), rois.labels[0].tolist(), strict=True)}
    assert labels == {(10, 10, 20, 30): 3, (10, 10, 19, 30): 0, (10, 10, 30, 30): 3}


def test_there_are_no_low_quality_matches():
    # The best proposal of the second object overlaps it by a third: the RPN would keep it, this stage does not.
    proposals = torch.tensor([[50.0, 10.0, 90.0, 20.0]])
    rois = sampler()([proposals], [GT[1:]], [LABELS[1:]])
    assert rois.positives().boxes[0].equal(GT[1:])  # only the ground truth itself


@pytest.mark.parametrize(("count", "positives"), [(64, 16), (40, 10), (512, 32)])
def test_at_most_a_quarter_is_positive_and_positives_come_first(count, positives):
    near = GT[:1] + torch.rand(31, 4) * 0.1
    far = torch.tensor([[60.0, 60.0, 70.0, 70.0]]).repeat(100, 1)
    rois = sampler(count)([torch.cat([far, near])], [GT[:1]], [LABELS[:1]])
    assert (rois.labels[0] > 0).tolist() == [True] * positives + [False] * min(100, count - positives)


def test_at_most_so_many_positives_of_each_image_are_taken_at_random():
    torch.manual_seed(0)
    near = [GT[:1] + torch.rand(count, 4) * 0.1 for count in (40, 2)]
    rois = sampler(128)(near, [GT[:1]] * 2, [LABELS[:1]] * 2)
    everything, few = rois.positives(), rois.positives(8)
    assert [len(boxes) for boxes in everything.boxes] == [32, 3]
    assert [len(boxes) for boxes in few.boxes] == [8, 3]
    for field, subset in zip(everything, few, strict=True):
        assert subset[0].equal(field[0][:8])
        assert subset[1].equal(field[1])
    taken = sampler(128)([near[0]], [GT[:1]], [LABELS[:1]]).positives(8).boxes[0]
    assert len({tuple(box) for box in taken.tolist()} & {tuple(box) for box in few.boxes[0].tolist()}) < 8


def test_each_image_has_a_sample_of_its_own_with_its_own_objects():
    proposals = [random_proposals(200, 0), random_proposals(200, 1)]
    rois = sampler(32)(proposals, [GT, GT.flip(0)], [LABELS, torch.tensor([2, 4])])
    assert [len(boxes) for boxes in rois.boxes] == [32, 32]
    assert set(rois.positives().labels[0].tolist()) == {1, 3}
    assert set(rois.positives().labels[1].tolist()) == {2, 4}
    expected = [GT[rois.matched[0]], GT.flip(0)[rois.matched[1]]]
    assert rois.matched_boxes([GT, GT.flip(0)]).equal(torch.cat(expected))


def test_an_image_without_objects_gives_background():
    rois = sampler(8)([random_proposals(20)] * 2, [torch.zeros(0, 4), GT], [torch.zeros(0).long(), LABELS])
    assert rois.labels[0].tolist() == [0] * 8
    assert rois.labels[0].dtype == torch.int64
    assert rois.positives().boxes[0].shape == (0, 4)
    matched = rois.matched_boxes([torch.zeros(0, 4), GT])  # in the order of the RoIs, so that no row is missing
    assert matched.shape == (16, 4)
    assert matched[8:].equal(GT[rois.matched[1]])


def test_an_image_without_proposals_trains_on_its_ground_truth():
    rois = sampler()([torch.zeros(0, 4)], [GT], [LABELS])
    assert sorted(rois.labels[0].tolist()) == [1, 3]


def test_an_image_with_nothing_at_all_gives_no_rois():
    rois = sampler()([torch.zeros(0, 4)], [torch.zeros(0, 4)], [torch.zeros(0).long()])
    assert rois.boxes[0].shape == (0, 4)
    assert rois.labels[0].shape == rois.matched[0].shape == (0,)


def test_rois_carry_no_gradient():
    rois = sampler()([random_proposals(20).requires_grad_()], [GT], [LABELS])
    assert not rois.boxes[0].requires_grad


def test_positives_keep_the_three_fields_together():
    rois = RoIs([torch.arange(12.0).view(3, 4)], [torch.tensor([2, 0, 1])], [torch.tensor([5, 6, 7])])
    positives = rois.positives()
    assert positives.boxes[0].tolist() == [[0, 1, 2, 3], [8, 9, 10, 11]]
    assert positives.labels[0].tolist() == [2, 1]
    assert positives.matched[0].tolist() == [5, 7]
