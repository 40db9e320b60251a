import pytest
import torch
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, Matcher

from maskrcnn.matching import IGNORED, NEGATIVE, BalancedSampler, match


def random_iou(n, m, seed):
    """As of real boxes, most of them small; rounded, so that there are ties and values at the thresholds."""
    iou = torch.rand(n, m, generator=torch.Generator().manual_seed(seed)) ** 3
    return (iou * 20).round() / 20


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("fg_iou_thresh", "bg_iou_thresh", "allow_low_quality_matches"), [(0.7, 0.3, True), (0.5, 0.5, False)]
)
def test_match_agrees_with_torchvision(seed, fg_iou_thresh, bg_iou_thresh, allow_low_quality_matches):
    iou = random_iou(6, 80, seed)
    expected = Matcher(fg_iou_thresh, bg_iou_thresh, allow_low_quality_matches=allow_low_quality_matches)(iou)
    assert match(iou, fg_iou_thresh, bg_iou_thresh, allow_low_quality_matches).equal(expected)


# Columns are candidates: over the threshold of two objects; at 0.7; between; at 0.3; below.
TABLE = torch.tensor([[0.9, 0.1, 0.5, 0.3, 0.29], [0.8, 0.7, 0.2, 0.0, 0.1]])


def test_each_candidate_goes_to_its_best_object_with_thresholds_inclusive():
    assert match(TABLE, 0.7, 0.3, allow_low_quality_matches=False).tolist() == [0, 1, IGNORED, IGNORED, NEGATIVE]


def test_with_one_threshold_nothing_is_ignored():
    assert match(TABLE, 0.5, 0.5, allow_low_quality_matches=False).tolist() == [0, 1, 0, NEGATIVE, NEGATIVE]


def test_an_object_without_a_good_candidate_keeps_its_best_ones_ties_included():
    # Object 1 is overlapped by 0.2 at most, by candidates 1 and 3, which are background to everything else.
    iou = torch.tensor([[0.8, 0.0, 0.1, 0.1], [0.0, 0.2, 0.1, 0.2]])
    assert match(iou, 0.7, 0.3, allow_low_quality_matches=True).tolist() == [0, 1, NEGATIVE, 1]
    assert match(iou, 0.7, 0.3, allow_low_quality_matches=False).tolist() == [0, NEGATIVE, NEGATIVE, NEGATIVE]


def test_a_kept_candidate_is_matched_to_the_object_that_it_overlaps_most():
    # The only candidate of object 1 overlaps object 0 more.
    assert match(torch.tensor([[0.4], [0.2]]), 0.7, 0.3, allow_low_quality_matches=True).tolist() == [0]


def test_an_object_that_nothing_overlaps_does_not_make_background_positive():
    # Its best IoU is 0, and so is that of every candidate: they must not all be its ties.
    iou = torch.tensor([[0.8, 0.0, 0.1], [0.0, 0.0, 0.0]])
    assert match(iou, 0.7, 0.3, allow_low_quality_matches=True).tolist() == [0, NEGATIVE, NEGATIVE]


@pytest.mark.parametrize("seed", range(5))
def test_every_object_has_a_candidate_when_the_best_are_kept(seed):
    # As many candidates as objects, each overlapping its own object more than any other, however little.
    iou = random_iou(8, 8, seed) * 0.05 + torch.eye(8) * 0.1
    assert sorted(match(iou, 0.7, 0.3, allow_low_quality_matches=True).tolist()) == list(range(8))


@pytest.mark.parametrize("allow_low_quality_matches", [True, False])
def test_without_objects_everything_is_background(allow_low_quality_matches):
    matched = match(torch.zeros(0, 4), 0.7, 0.3, allow_low_quality_matches)
    assert matched.dtype == torch.int64
    assert matched.tolist() == [NEGATIVE] * 4


@pytest.mark.parametrize("allow_low_quality_matches", [True, False])
@pytest.mark.parametrize("objects", [0, 3])
def test_without_candidates_there_is_nothing_to_match(allow_low_quality_matches, objects):
    assert match(torch.zeros(objects, 0), 0.7, 0.3, allow_low_quality_matches).shape == (0,)


def matched_with(positives, negatives, ignored):
    marks = torch.cat(
        [torch.arange(positives) % 3, torch.full((negatives,), NEGATIVE), torch.full((ignored,), IGNORED)]
    )
    return marks[torch.randperm(len(marks), generator=torch.Generator().manual_seed(0))]


@pytest.mark.parametrize(
    ("positives", "negatives", "expected"),
    [
        (100, 900, (16, 48)),  # plenty of both: a quarter of 64
        (5, 900, (5, 59)),  # few positives: topped up with negatives
        (100, 20, (16, 20)),  # few negatives: not topped up with positives
        (3, 4, (3, 4)),  # few of all: a smaller sample
        (0, 900, (0, 64)),  # an image without objects
        (0, 0, (0, 0)),
    ],
)
def test_the_sample_has_at_most_a_quarter_positive(positives, negatives, expected):
    matched = matched_with(positives, negatives, ignored=50)
    positive, negative = BalancedSampler(64, 0.25)(matched)
    assert (len(positive), len(negative)) == expected
    theirs = BalancedPositiveNegativeSampler(64, 0.25)([(matched + 1).where(matched != IGNORED, -1)])
    assert (int(theirs[0][0].sum()), int(theirs[1][0].sum())) == expected


def test_sampling_is_without_replacement_and_never_from_the_ignored():
    matched = matched_with(40, 50, 60)
    for _ in range(20):
        positive, negative = BalancedSampler(48, 0.5)(matched)
        assert len(positive.unique()) == len(positive) == 24
        assert len(negative.unique()) == len(negative) == 24
        assert (matched[positive] >= 0).all()
        assert (matched[negative] == NEGATIVE).all()


def test_every_candidate_is_sampled_equally_often():
    torch.manual_seed(0)
    matched = matched_with(8, 32, 0)
    counts = torch.zeros(40)
    for _ in range(1000):
        for index in BalancedSampler(12, 1 / 3)(matched):
            counts[index] += 1
    # 4 of 8 positives and 8 of 32 negatives: 500 and 250 times, with a standard deviation of at most 16.
    assert ((counts - torch.where(matched >= 0, 500.0, 250.0)).abs() < 80).all()


def test_the_sample_follows_the_seed():
    matched = matched_with(100, 900, 0)
    samples = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        samples.append(torch.cat(BalancedSampler(64, 0.25)(matched)))
    assert samples[0].equal(samples[1])
    assert not samples[0].equal(samples[2])
