import pytest
import torch

from data.augment import (
    Augmentation,
    blur,
    copy_cells,
    faded_rim,
    flip_horizontally,
    flip_vertically,
    glass,
    mask_boxes,
    random_flips_and_turns,
    random_shifts,
    relight,
    restain,
    transpose,
    view,
    whole_cells,
)

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


@pytest.fixture
def smear():
    """Two discs, the second cut by the right border, on a textured field."""
    rows, columns = torch.meshgrid(torch.arange(90.0) + 0.5, torch.arange(120.0) + 0.5, indexing="ij")
    masks = torch.stack(
        [((rows - y) ** 2 + (columns - x) ** 2 < 15**2).to(torch.uint8) for x, y in ((40, 30), (115, 60))]
    )
    image = 0.85 + 0.02 * torch.randn(3, 90, 120, generator=torch.Generator().manual_seed(0))
    image = torch.where(masks.amax(0).bool(), torch.tensor([0.5, 0.3, 0.7])[:, None, None] * image, image)
    return image, {"boxes": mask_boxes(masks), "labels": torch.tensor([1, 4]), "masks": masks}


def test_boxes_of_masks_by_hand():
    masks = torch.zeros(2, 4, 5)
    masks[0, 1, 2] = 1
    masks[1, 0, 4] = masks[1, 3, 0] = 0.01
    assert mask_boxes(masks).tolist() == [[2, 1, 3, 2], [0, 0, 5, 4]]
    assert mask_boxes(masks[:0]).shape == (0, 4)


def test_the_view_of_the_whole_image_at_its_size_is_the_image(smear):
    image, target = view(*smear, (0, 0, 120, 90), (90, 120))
    assert torch.equal(image, smear[0])
    assert all(torch.equal(target[name], smear[1][name].to(target[name].dtype)) for name in target)


def test_a_crop_cuts_image_masks_and_boxes_alike(smear):
    image, target = view(*smear, (30, 20, 90, 80), (60, 60))
    assert torch.equal(image, smear[0][:, 20:80, 30:90])
    assert target["labels"].tolist() == [1]  # nothing is left of the other
    assert torch.equal(target["masks"], smear[1]["masks"][:1, 20:80, 30:90].float())
    assert torch.equal(target["boxes"], bounding_boxes(target["masks"]))


@pytest.mark.parametrize("window", [(0, 0, 120, 90), (-13, -20, 131, 88), (20, 10, 117, 83)])
@pytest.mark.parametrize("size", [(90, 120), (45, 60), (64, 85), (180, 240)])
def test_the_box_of_what_a_view_shows_is_that_of_its_mask(smear, window, size):
    image, target = view(*smear, window, size)
    assert image.shape == (3, *size)
    assert target["masks"].shape[1:] == size
    # A pixel is a mean over the width of two around its centre, so it may know of a cell that ends 1.5 from its far side.
    assert (bounding_boxes(target["masks"] > 0) - target["boxes"]).abs().max() <= max(1.5, size[0] / 90)
    share = target["masks"].sum((1, 2)) / (size[0] * size[1])
    x1, y1, x2, y2 = window
    inside = smear[1]["masks"][:, max(y1, 0) : y2, max(x1, 0) : x2].sum((1, 2)) / ((x2 - x1) * (y2 - y1))
    assert torch.allclose(share, inside[inside > 0], rtol=0.03)


def test_glass_fills_what_is_outside_of_the_image(smear):
    image, target = view(*smear, (-12, -9, 132, 99), (108, 144))
    assert torch.allclose(image[:, :9], glass(smear[0])[:, None, None])
    assert torch.allclose(image[:, 9:99, 12:132], smear[0], atol=1e-6)
    assert torch.equal(target["boxes"], smear[1]["boxes"] + torch.tensor([12.0, 9, 12, 9]))
    assert ((glass(smear[0]) > 0.83) & (glass(smear[0]) < 0.92)).all()


def test_a_cell_of_which_hardly_anything_is_left_is_left_out(smear):
    for edge, kept in ((32, 1), (29, 0)):  # of 25 to 55
        _, target = view(*smear, (0, 0, edge, 90), (90, edge))
        assert len(target["labels"]) == kept
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "masks": torch.zeros(0, 90, 120)}
    assert view(smear[0], empty, (0, 0, 60, 45), (40, 50))[1]["masks"].shape == (0, 40, 50)


def test_stain_is_absorbance():
    """Of twice as much stain twice as much light is swallowed; no stain, no change; and back again."""
    image = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    assert torch.allclose(restain(image, torch.ones(3)), image, atol=1e-5)
    assert torch.allclose(restain(image, torch.full((3,), 2.0)), image**2, atol=1e-5)
    white = torch.ones(3, 2, 2)
    assert torch.allclose(restain(white, torch.tensor([3.0, 0.2, 1.7])), white)
    there = restain(image**0.3, torch.tensor([1.2, 0.9, 1.1]))
    assert torch.allclose(restain(there, 1 / torch.tensor([1.2, 0.9, 1.1])), image**0.3, atol=1e-4)


def test_a_pure_stain_is_changed_by_its_own_strength_only():
    haematoxylin = torch.tensor([0.65, 0.70, 0.29])
    haematoxylin = haematoxylin / haematoxylin.norm()
    image = torch.exp(-haematoxylin * 0.8)[:, None, None]
    assert torch.allclose(restain(image, torch.tensor([1.0, 3.0, 0.1])), image, atol=1e-5)
    expected = torch.exp(-haematoxylin * 1.2)[:, None, None]
    assert torch.allclose(restain(image, torch.tensor([1.5, 1.0, 1.0])), expected, atol=1e-5)


def test_light_by_hand():
    image = torch.tensor([0.5, 0.25, 0.9])[:, None, None]
    assert torch.allclose(relight(image, torch.tensor([1.1, 1.0, 2.0]), 1.0).flatten(), torch.tensor([0.55, 0.25, 1.0]))
    assert torch.allclose(relight(image, torch.ones(3), 2.0).flatten(), torch.tensor([0.25, 0.0625, 0.81]))


@pytest.mark.parametrize("sigma", [0.5, 1.3, 3.0])
def test_blur_is_scipys_gaussian(sigma):
    ndimage = pytest.importorskip("scipy.ndimage")
    image = torch.rand(3, 30, 40, generator=torch.Generator().manual_seed(0))
    reach = max(1, round(3 * sigma))
    expected = [ndimage.gaussian_filter(c.numpy(), sigma, mode="nearest", radius=reach) for c in image]
    assert torch.allclose(blur(image, sigma), torch.stack([torch.from_numpy(c) for c in expected]), atol=1e-5)
    assert torch.equal(blur(image, 0), image)


def test_a_pasted_cell_brings_its_mask_box_and_label(smear):
    donor = whole_cells(*smear)
    assert donor[1]["labels"].tolist() == [1]
    image, target = copy_cells(*smear, donor, [(40, -20)])
    assert target["labels"].tolist() == [1, 4, 1]
    assert torch.equal(target["boxes"][2], smear[1]["boxes"][0] + torch.tensor([-20.0, 40, -20, 40]))
    assert torch.equal(target["boxes"], bounding_boxes(target["masks"]))
    assert torch.equal(target["masks"][:2], smear[1]["masks"])
    # Inside, the donor's pixels; nine pixels away from it, the field's own.
    cell = target["masks"][2].bool()
    moved = torch.roll(smear[0], (40, -20), (-2, -1))
    assert torch.allclose(image[:, cell], moved[:, cell], atol=1e-5)
    away = torch.nn.functional.max_pool2d(target["masks"][2:].float(), 19, 1, 9)[0] == 0
    assert torch.equal(image[:, away], smear[0][:, away])
    # Between them the one fades into the other: just outside the drawn outline there is no edge.
    beside = (torch.nn.functional.max_pool2d(target["masks"][2:].float(), 5, 1, 2)[0] > 0) & ~cell
    assert torch.allclose(image[:, beside], moved[:, beside], atol=1e-5)


def test_a_rim_fades_evenly_to_all_sides_and_is_cut_by_the_border():
    """Whole to the third pixel outside the cell, nothing from the tenth on; seven equal steps down between them."""
    mask = torch.zeros(40, 50)
    mask[20:25, 2:9] = 1
    distance = torch.maximum(
        torch.maximum(20 - torch.arange(40), torch.arange(40) - 24)[:, None],
        torch.maximum(2 - torch.arange(50), torch.arange(50) - 8)[None],
    )
    rim = faded_rim(mask)
    steps = ((10 - distance) / 7).clamp(0, 1)
    beside = slice(2, 9)  # along straight edges; what fades at a corner fades both ways
    assert torch.allclose(rim[:, beside], steps[:, beside])
    assert torch.allclose(rim[20:25], steps[20:25])
    assert (rim <= steps + 1e-6).all()
    assert torch.equal(rim, faded_rim(mask.bool()))


def test_the_rim_of_a_pasted_cell_does_not_come_round_the_border(smear):
    glass = torch.full_like(smear[0], 0.8)
    nothing = {name: values[:0] for name, values in smear[1].items()}
    donor = whole_cells(*smear)
    image, target = copy_cells(glass, nothing, donor, [(0, glass.shape[-1] - int(donor[1]["boxes"][0, 2]))])
    assert target["boxes"][0, 2] == glass.shape[-1]
    assert not torch.equal(image, glass)
    assert torch.equal(image[:, :, :10], glass[:, :, :10])


@pytest.mark.parametrize("shift", [(0, 0), (5, 20), (31, 45), (70, 0), (0, -26), (-16, 0)])
def test_a_cell_stays_away_where_there_is_no_room(smear, shift):
    """Onto itself, onto its neighbour, beside it without a gap, beyond each border."""
    image, target = copy_cells(*smear, whole_cells(*smear), [shift])
    assert torch.equal(image, smear[0])
    assert len(target["labels"]) == 2


def test_a_pasted_cell_takes_on_the_light_of_its_new_slide(smear):
    pixels, target = whole_cells(*smear)
    image, target = copy_cells(*smear, (pixels * torch.tensor([0.8, 0.9, 0.7])[:, None, None], target), [(40, -20)])
    cell = target["masks"][2].bool()
    expected = torch.roll(smear[0], (40, -20), (-2, -1))[:, cell]
    assert (image[:, cell].mean(1) - expected.mean(1)).abs().max() < 0.02


def test_random_shifts_reach_every_place_and_never_leave():
    torch.manual_seed(0)
    boxes = torch.tensor([[10.0, 20, 40, 60]]).repeat(500, 1)
    shifts = torch.tensor(random_shifts(boxes, (90, 120)))
    moved = boxes + shifts[:, [1, 0, 1, 0]]
    assert moved[:, 0].min() == 0
    assert moved[:, 2].max() == 120
    assert moved[:, 1].min() >= 0
    assert moved[:, 3].max() <= 90


def test_augmentation_keeps_image_boxes_and_masks_together(smear):
    torch.manual_seed(0)
    pasted = 0
    for _ in range(100):
        image, target = Augmentation(zoom=1.5)(smear, (60, 80), donors=[smear])
        assert image.shape == (3, 60, 80)
        assert 0 <= image.min() <= image.max() <= 1
        assert len(target["boxes"]) == len(target["labels"]) == len(target["masks"])
        assert (bounding_boxes(target["masks"] > 0) - target["boxes"]).abs().max() <= 1.5  # soft edges, as above
        assert (target["masks"].sum(0) <= 1 + 1e-5).all()
        pasted += len(target["labels"]) > 2
    assert pasted > 3


def test_no_half_cell_is_pasted(smear, monkeypatch):
    """One that the window of the zoom has cut would end in a straight line."""
    offered = []

    def note(image, target, donor, shifts):
        offered.append(donor[1]["masks"])
        return copy_cells(image, target, donor, shifts)

    monkeypatch.setattr("data.augment.copy_cells", note)
    torch.manual_seed(0)
    for _ in range(60):
        Augmentation(zoom=2.0)(smear, (60, 80), donors=[smear])
    masks = torch.cat(offered)
    assert 10 < len(masks) < 60  # the smear has one whole cell; some windows cut it
    assert masks[:, [0, -1]].sum() + masks[:, :, [0, -1]].sum() == 0


def test_augmentation_off_is_resizing_alone(smear):
    off = Augmentation(zoom=0, stain=0, light=0, blur=0, copies=0)
    image, target = off(smear, (90, 120))
    assert torch.equal(image, smear[0])
    assert torch.equal(target["boxes"], smear[1]["boxes"])


def test_augmentation_is_by_seed_and_leaves_its_input_alone(smear):
    before = smear[0].clone(), {name: value.clone() for name, value in smear[1].items()}
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(Augmentation()(smear, (60, 80), donors=[smear]))
    assert same(drawn[0], drawn[1])
    assert not torch.equal(drawn[0][0], drawn[2][0])
    assert same(before, smear)
