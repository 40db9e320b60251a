import pytest
import torch

from data.augment import flip_horizontally, flip_vertically, random_flips_and_turns, transpose

CHANGES = {"horizontal": flip_horizontally, "vertical": flip_vertically, "transpose": transpose}


@pytest.fixture
def sample():
    """Two L-shaped objects, which no flip or turn takes to themselves, on an image that is not square."""
    masks = torch.zeros(2, 7, 11, dtype=torch.uint8)
    masks[0, 1:5, 2] = masks[0, 4, 2:4] = 1
    masks[1, 3, 6:10] = masks[1, 2, 6] = 1
    boxes = torch.tensor([[2.0, 1.0, 4.0, 5.0], [6.0, 2.0, 10.0, 4.0]])
    target = {"boxes": boxes, "labels": torch.tensor([1, 4]), "masks": masks}
    return torch.rand(3, 7, 11, generator=torch.Generator().manual_seed(0)), target


def bounding_boxes(masks):
    """In continuous coordinates: the last pixel's far edge is included."""
    boxes = []
    for mask in masks:
        rows, columns = torch.where(mask)
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    return torch.tensor(boxes).float()


def eight_ways(image, target):
    """Each of the eight, by the order in which the random one applies its changes."""
    for number in range(8):
        changed = image, target
        for bit, change in enumerate(CHANGES.values()):
            if number >> bit & 1:
                changed = change(*changed)
        yield changed


def same(a, b):
    return a[0].equal(b[0]) and all(a[1][name].equal(b[1][name]) for name in b[1])


def test_an_edge_at_x_goes_to_w_minus_x(sample):
    image, target = sample
    flipped, changed = flip_horizontally(image, target)
    # 11 px wide: 2..4 -> 7..9 and 6..10 -> 1..5.
    assert changed["boxes"].tolist() == [[7, 1, 9, 5], [1, 2, 5, 4]]
    assert flipped[:, 3, 0].equal(image[:, 3, 10])


def test_an_edge_at_y_goes_to_h_minus_y(sample):
    image, target = sample
    flipped, changed = flip_vertically(image, target)
    # 7 px high: 1..5 -> 2..6 and 2..4 -> 3..5.
    assert changed["boxes"].tolist() == [[2, 2, 4, 6], [6, 3, 10, 5]]
    assert flipped[:, 0, 3].equal(image[:, 6, 3])


def test_transposing_makes_rows_columns(sample):
    image, target = sample
    transposed, changed = transpose(image, target)
    assert transposed.shape == (3, 11, 7)
    assert changed["masks"].shape == (2, 11, 7)
    assert changed["boxes"].tolist() == [[1, 2, 5, 4], [2, 6, 4, 10]]
    assert transposed[:, 9, 2].equal(image[:, 2, 9])


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_changing_twice_is_the_identity(sample, change):
    assert same(change(*change(*sample)), sample)


def test_the_box_of_a_changed_mask_is_the_changed_box(sample):
    for _, target in eight_ways(*sample):
        assert target["boxes"].equal(bounding_boxes(target["masks"]))


def test_the_image_is_changed_as_its_masks_are(sample):
    # Masks as an image: where they go, the image goes.
    _, target = sample
    image = torch.cat([target["masks"], target["masks"][:1]]).float()
    for changed, changed_target in eight_ways(image, target):
        assert changed[:2].equal(changed_target["masks"].float())


def test_the_random_change_is_one_of_eight_each_equally_likely(sample):
    ways = list(eight_ways(*sample))
    assert not any(same(a, b) for i, a in enumerate(ways) for b in ways[:i] if a[0].shape == b[0].shape)
    generator = torch.Generator().manual_seed(0)
    counts = [0] * 8
    for _ in range(800):
        (changed,) = random_flips_and_turns([sample], generator)
        (way,) = [i for i, way in enumerate(ways) if way[0].shape == changed[0].shape and same(way, changed)]
        counts[way] += 1
    # 100 of each are expected, with a standard deviation of 9.4.
    assert all(60 < count < 140 for count in counts)


def test_the_random_change_follows_its_generator(sample):
    draws = [
        [random_flips_and_turns([sample], generator)[0][1]["boxes"].tolist() for _ in range(20)]
        for generator in (torch.Generator().manual_seed(seed) for seed in (1, 1, 2))
    ]
    assert draws[0] == draws[1] != draws[2]


def test_a_batch_is_turned_as_one_and_flipped_one_by_one(sample):
    generator = torch.Generator().manual_seed(0)
    batches = [random_flips_and_turns([sample] * 4, generator) for _ in range(20)]
    shapes = [{image.shape for image, _ in batch} for batch in batches]
    assert all(len(of_batch) == 1 for of_batch in shapes)
    assert len(set.union(*shapes)) == 2
    assert any(not same(batch[0], other) for batch in batches for other in batch[1:])


def test_fractional_corners_stay_fractional(sample):
    image, target = sample
    fractional = {**target, "boxes": torch.tensor([[2.25, 1.5, 4.75, 5.125]])}
    assert flip_horizontally(image, fractional)[1]["boxes"].tolist() == [[6.25, 1.5, 8.75, 5.125]]
    assert flip_vertically(image, fractional)[1]["boxes"].tolist() == [[2.25, 1.875, 4.75, 5.5]]


def test_an_image_without_objects_can_be_changed(sample):
    image, _ = sample
    none = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long(), "masks": torch.zeros(0, 7, 11)}
    for changed, target in eight_ways(image, none):
        assert target["boxes"].shape == (0, 4)
        assert target["masks"].shape == (0, *changed.shape[1:])


@pytest.mark.parametrize("change", [*CHANGES.values(), lambda *sample: random_flips_and_turns([sample])[0]])
def test_the_sample_given_is_not_changed_and_other_entries_go_along(sample, change):
    image, target = sample
    target["image_id"] = torch.tensor(17)
    copies = image.clone(), {name: value.clone() for name, value in target.items()}
    _, changed = change(image, target)
    assert same(sample, copies)
    assert changed["labels"].tolist() == [1, 4]
    assert changed["image_id"] == 17
