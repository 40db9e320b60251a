import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.augment import (
    Augmentation,
    coin,
    copy_paste,
    crop_resize,
    drop_border_cells,
    feathered_alpha,
    flip_horizontally,
    flip_vertically,
    random_dihedral,
    random_shifts,
    transpose,
)
from data.colour import background_colour, blur
from maskrcnn.boxes import masks_to_boxes

CHANGES = {"horizontal": flip_horizontally, "vertical": flip_vertically, "transpose": transpose}


@pytest.fixture
def sample():
    """Two L-shaped objects, which no symmetry maps to themselves, in an image that is not square."""
    masks = torch.zeros(2, 7, 11, dtype=torch.uint8)
    masks[0, 1:5, 2] = masks[0, 4, 2:4] = 1
    masks[1, 3, 6:10] = masks[1, 2, 6] = 1
    boxes = torch.tensor([[2.0, 1.0, 4.0, 5.0], [6.0, 2.0, 10.0, 4.0]])
    target = {"boxes": boxes, "labels": torch.tensor([1, 4]), "masks": masks}
    return torch.rand(3, 7, 11, generator=torch.Generator().manual_seed(0)), target


def bounding_boxes(masks):
    """In continuous coordinates: up to the far edge of the last pixel."""
    boxes = []
    for mask in masks:
        rows, columns = torch.where(mask)
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    return torch.tensor(boxes).float()


def eight_symmetries(image, target):
    """The sample under each of them, with the changes in the order in which the random one applies them."""
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


@st.composite
def samples(draw):
    """A random image with up to three objects of random pixels."""
    height, width, count = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(0, 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    masks = (torch.rand(count, height, width, generator=generator) < 0.3).to(torch.uint8)
    masks[:, height // 2, width // 2] = 1  # none is empty
    target = {"boxes": masks_to_boxes(masks), "labels": torch.arange(1, count + 1), "masks": masks}
    return torch.rand(3, height, width, generator=generator), target


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@given(sample=samples())
def test_changing_twice_is_the_identity(change, sample):
    assert same(change(*change(*sample)), sample)


@given(sample=samples())
def test_in_every_symmetry_boxes_follow_masks_and_pixels_stay_on_their_cells(sample):
    image, target = sample
    colours = [sorted(image[:, mask > 0].flatten().tolist()) for mask in target["masks"]]
    for changed, changed_target in eight_symmetries(image, target):
        assert changed_target["boxes"].equal(masks_to_boxes(changed_target["masks"]))
        assert [sorted(changed[:, mask > 0].flatten().tolist()) for mask in changed_target["masks"]] == colours


@given(sample=samples())
def test_two_flips_commute_and_four_quarter_turns_are_the_identity(sample):
    assert same(flip_vertically(*flip_horizontally(*sample)), flip_horizontally(*flip_vertically(*sample)))
    turned = sample
    for _ in range(4):
        turned = flip_vertically(*transpose(*turned))
    assert same(turned, sample)


def test_the_box_of_a_changed_mask_is_the_changed_box(sample):
    for _, target in eight_symmetries(*sample):
        assert target["boxes"].equal(bounding_boxes(target["masks"]))


def test_the_image_is_changed_as_its_masks_are(sample):
    # Masks as an image: where they go, the image goes.
    _, target = sample
    image = torch.cat([target["masks"], target["masks"][:1]]).float()
    for changed, changed_target in eight_symmetries(image, target):
        assert changed[:2].equal(changed_target["masks"].float())


def test_the_random_change_is_one_of_eight_each_equally_likely(sample):
    expected = list(eight_symmetries(*sample))
    assert not any(same(a, b) for i, a in enumerate(expected) for b in expected[:i] if a[0].shape == b[0].shape)
    torch.manual_seed(0)
    counts = [0] * 8
    for _ in range(800):
        changed = random_dihedral(*sample, coin())
        (number,) = [
            i for i, other in enumerate(expected) if other[0].shape == changed[0].shape and same(other, changed)
        ]
        counts[number] += 1
    # 100 of each are expected, with a standard deviation of 9.4.
    assert all(60 < count < 140 for count in counts)


def test_it_is_transposed_only_if_it_is_to_be(sample):
    shapes = [[random_dihedral(*sample, transposed)[0].shape[1:] for _ in range(20)] for transposed in (False, True)]
    assert shapes == [[(7, 11)] * 20, [(11, 7)] * 20]


def test_fractional_corners_stay_fractional(sample):
    image, target = sample
    fractional = {**target, "boxes": torch.tensor([[2.25, 1.5, 4.75, 5.125]])}
    assert flip_horizontally(image, fractional)[1]["boxes"].tolist() == [[6.25, 1.5, 8.75, 5.125]]
    assert flip_vertically(image, fractional)[1]["boxes"].tolist() == [[2.25, 1.875, 4.75, 5.5]]


def test_an_image_without_objects_can_be_changed(sample):
    image, _ = sample
    none = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long(), "masks": torch.zeros(0, 7, 11)}
    for changed, target in eight_symmetries(image, none):
        assert target["boxes"].shape == (0, 4)
        assert target["masks"].shape == (0, *changed.shape[1:])


@pytest.mark.parametrize("change", [*CHANGES.values(), lambda *sample: random_dihedral(*sample, coin())])
def test_the_given_sample_is_not_changed_and_other_entries_are_kept(sample, change):
    image, target = sample
    target["image_id"] = torch.tensor(17)
    copies = image.clone(), {name: value.clone() for name, value in target.items()}
    _, changed = change(image, target)
    assert same(sample, copies)
    assert changed["labels"].tolist() == [1, 4]
    assert changed["image_id"] == 17


@pytest.fixture
def smear():
    """Two discs, the second cut by the right border, on a textured background."""
    rows, columns = torch.meshgrid(torch.arange(90.0) + 0.5, torch.arange(120.0) + 0.5, indexing="ij")
    masks = torch.stack(
        [((rows - y) ** 2 + (columns - x) ** 2 < 15**2).to(torch.uint8) for x, y in ((40, 30), (115, 60))]
    )
    image = 0.85 + 0.02 * torch.randn(3, 90, 120, generator=torch.Generator().manual_seed(0))
    image = torch.where(masks.amax(0).bool(), torch.tensor([0.5, 0.3, 0.7])[:, None, None] * image, image)
    return image, {"boxes": masks_to_boxes(masks), "labels": torch.tensor([1, 4]), "masks": masks}


def test_a_window_of_the_whole_image_at_its_size_is_the_image(smear):
    image, target = crop_resize(*smear, (0, 0, 120, 90), (90, 120))
    assert torch.equal(image, smear[0])
    assert all(torch.equal(target[name], smear[1][name].to(target[name].dtype)) for name in target)


def test_a_crop_cuts_image_masks_and_boxes_alike(smear):
    image, target = crop_resize(*smear, (30, 20, 90, 80), (60, 60))
    assert torch.equal(image, smear[0][:, 20:80, 30:90])
    assert target["labels"].tolist() == [1]  # nothing is left of the other
    assert torch.equal(target["masks"], smear[1]["masks"][:1, 20:80, 30:90].float())
    assert torch.equal(target["boxes"], bounding_boxes(target["masks"]))


@pytest.mark.parametrize("window", [(0, 0, 120, 90), (-13, -20, 131, 88), (20, 10, 117, 83)])
@pytest.mark.parametrize("size", [(90, 120), (45, 60), (64, 85), (180, 240)])
def test_the_box_of_a_resized_crop_is_that_of_its_mask(smear, window, size):
    image, target = crop_resize(*smear, window, size)
    assert image.shape == (3, *size)
    assert target["masks"].shape[1:] == size
    # A pixel averages over two pixels around its centre, so it can see a cell that ends 1.5 pixels from its far side.
    assert (bounding_boxes(target["masks"] > 0) - target["boxes"]).abs().max() <= max(1.5, size[0] / 90)
    area = target["masks"].sum((1, 2)) / (size[0] * size[1])
    x1, y1, x2, y2 = window
    inside = smear[1]["masks"][:, max(y1, 0) : y2, max(x1, 0) : x2].sum((1, 2)) / ((x2 - x1) * (y2 - y1))
    assert torch.allclose(area, inside[inside > 0], rtol=0.03)


def test_outside_the_image_is_the_background_colour(smear):
    image, target = crop_resize(*smear, (-12, -9, 132, 99), (108, 144))
    colour = background_colour(smear[0])
    assert torch.allclose(image[:, :9], colour[:, None, None])
    assert torch.allclose(image[:, 9:99, 12:132], smear[0], atol=1e-6)
    assert torch.equal(target["boxes"], smear[1]["boxes"] + torch.tensor([12.0, 9, 12, 9]))
    assert ((colour > 0.83) & (colour < 0.92)).all()


def test_a_cell_of_which_hardly_anything_is_visible_is_left_out(smear):
    for edge, kept in ((32, 1), (29, 0)):  # of 25 to 55
        _, target = crop_resize(*smear, (0, 0, edge, 90), (90, edge))
        assert len(target["labels"]) == kept
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "masks": torch.zeros(0, 90, 120)}
    assert crop_resize(smear[0], empty, (0, 0, 60, 45), (40, 50))[1]["masks"].shape == (0, 40, 50)


def test_a_pasted_cell_brings_its_mask_box_and_label(smear):
    donor = drop_border_cells(*smear)
    assert donor[1]["labels"].tolist() == [1]
    image, target = copy_paste(*smear, donor, [(40, -20)])
    assert target["labels"].tolist() == [1, 4, 1]
    assert torch.equal(target["boxes"][2], smear[1]["boxes"][0] + torch.tensor([-20.0, 40, -20, 40]))
    assert torch.equal(target["boxes"], bounding_boxes(target["masks"]))
    assert torch.equal(target["masks"][:2], smear[1]["masks"])
    # Inside, the pixels of the donor; nine pixels away from it, those of the image.
    cell = target["masks"][2].bool()
    moved = torch.roll(smear[0], (40, -20), (-2, -1))
    assert torch.allclose(image[:, cell], moved[:, cell], atol=1e-5)
    away = torch.nn.functional.max_pool2d(target["masks"][2:].float(), 19, 1, 9)[0] == 0
    assert torch.equal(image[:, away], smear[0][:, away])
    # Between them one fades into the other: there is no edge at the annotated outline.
    beside = (torch.nn.functional.max_pool2d(target["masks"][2:].float(), 5, 1, 2)[0] > 0) & ~cell
    assert torch.allclose(image[:, beside], moved[:, beside], atol=1e-5)


def test_alpha_falls_evenly_to_all_sides_and_is_cut_by_the_border():
    """1 to the third pixel outside the cell, 0 from the tenth on, seven equal steps between them."""
    mask = torch.zeros(40, 50)
    mask[20:25, 2:9] = 1
    distance = torch.maximum(
        torch.maximum(20 - torch.arange(40), torch.arange(40) - 24)[:, None],
        torch.maximum(2 - torch.arange(50), torch.arange(50) - 8)[None],
    )
    alpha = feathered_alpha(mask)
    steps = ((10 - distance) / 7).clamp(0, 1)
    beside = slice(2, 9)  # along straight edges; at a corner it falls both ways
    assert torch.allclose(alpha[:, beside], steps[:, beside])
    assert torch.allclose(alpha[20:25], steps[20:25])
    assert (alpha <= steps + 1e-6).all()
    assert torch.equal(alpha, feathered_alpha(mask.bool()))


def test_the_soft_edge_of_a_pasted_cell_does_not_wrap_around_the_border(smear):
    empty = torch.full_like(smear[0], 0.8)
    nothing = {name: values[:0] for name, values in smear[1].items()}
    donor = drop_border_cells(*smear)
    image, target = copy_paste(empty, nothing, donor, [(0, empty.shape[-1] - int(donor[1]["boxes"][0, 2]))])
    assert target["boxes"][0, 2] == empty.shape[-1]
    assert not torch.equal(image, empty)
    assert torch.equal(image[:, :, :10], empty[:, :, :10])


@pytest.mark.parametrize("shift", [(0, 0), (5, 20), (31, 45), (70, 0), (0, -26), (-16, 0)])
def test_a_cell_is_not_pasted_where_there_is_no_room(smear, shift):
    """On the same cell, on its neighbour, beside it without a gap, beyond each border."""
    image, target = copy_paste(*smear, drop_border_cells(*smear), [shift])
    assert torch.equal(image, smear[0])
    assert len(target["labels"]) == 2


def test_a_pasted_cell_is_scaled_to_the_light_of_its_new_image(smear):
    pixels, target = drop_border_cells(*smear)
    image, target = copy_paste(*smear, (pixels * torch.tensor([0.8, 0.9, 0.7])[:, None, None], target), [(40, -20)])
    cell = target["masks"][2].bool()
    expected = torch.roll(smear[0], (40, -20), (-2, -1))[:, cell]
    assert (image[:, cell].mean(1) - expected.mean(1)).abs().max() < 0.02


def test_random_shifts_reach_the_borders_and_never_leave():
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


def test_no_half_cell_is_pasted(smear):
    """A disc that the window of the zoom has cut would no longer be as wide as it is high."""
    empty = torch.full_like(smear[0], 0.85), {name: values[:0] for name, values in smear[1].items()}
    torch.manual_seed(0)
    boxes = torch.cat([Augmentation(zoom=2.0)(empty, (60, 80), donors=[smear])[1]["boxes"] for _ in range(60)])
    assert 10 < len(boxes) < 60  # the smear has one whole cell; some windows cut it
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    assert (width - height).abs().max() <= 1


HAEMATOXYLIN = torch.nn.functional.normalize(torch.tensor([0.65, 0.70, 0.29]), dim=0)
OFF = {"zoom": 0.0, "stain": 0.0, "light": 0.0, "blur": 0.0, "laboratory": 0.0, "copies": 0.0, "crop": 0}


def test_stain_is_applied_with_its_standard_deviation():
    """Haematoxylin alone stays haematoxylin, of another strength."""
    image = torch.exp(-HAEMATOXYLIN * 0.8)[:, None, None].expand(3, 4, 5)
    torch.manual_seed(0)
    strengths = []
    for _ in range(400):
        absorbance = -Augmentation(**{**OFF, "stain": 0.3}).colour(image).log()
        strengths.append(float(absorbance[0, 0, 0] / (0.8 * HAEMATOXYLIN[0])))
        assert torch.allclose(absorbance, 0.8 * strengths[-1] * HAEMATOXYLIN[:, None, None], atol=1e-4)
    logs = torch.tensor(strengths).log()
    assert logs.mean().abs() < 0.05
    assert float(logs.std()) == pytest.approx(0.3, rel=0.1)


def test_light_is_applied_with_its_standard_deviation():
    image = torch.full((3, 2, 2), 0.5)
    torch.manual_seed(0)
    changed = torch.stack([Augmentation(**{**OFF, "light": 0.05}).colour(image)[:, 0, 0] for _ in range(600)])
    # log = light (n1 + n2 / 2) + exp(2 light n3) log 0.5, with normal n1 for all channels, n2 for each, n3 for gamma.
    assert float(changed.log().std()) == pytest.approx(0.05 * math.sqrt(1 + 1 / 4 + (2 * math.log(2)) ** 2), rel=0.1)
    ratio = (changed[:, 0] / changed[:, 1]).log()  # between two channels only n2 differs
    assert float(ratio.std()) == pytest.approx(0.05 * math.sqrt(2) / 2, rel=0.1)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_a_fraction_of_the_images_is_from_another_laboratory_instead_of_another_slide(fraction):
    image = torch.full((3, 4, 5), 0.5)
    torch.manual_seed(0)
    augmentation = Augmentation(**{**OFF, "light": 0.001, "laboratory": fraction})
    changes = [float((augmentation.colour(image) - image).abs().max()) for _ in range(400)]
    assert all(change > 0 for change in changes)
    assert sum(change > 0.01 for change in changes) / 400 == pytest.approx(fraction, abs=0.06)


def test_one_image_in_four_is_blurred():
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    changed = [Augmentation(**{**OFF, "blur": 2.0}).colour(image) for _ in range(400)]
    blurred = [result for result in changed if not torch.equal(result, image)]
    assert len(blurred) / 400 == pytest.approx(0.25, abs=0.06)
    assert all(result.var() <= image.var() for result in blurred)
    assert all(abs(result.mean() - image.mean()) < 0.03 for result in blurred)
    strongest = blur(image, 2.0).var()
    assert strongest <= min(result.var() for result in blurred) < 1.5 * strongest  # sigma is up to 2 pixels


@given(st.integers(0, 2**31), st.integers(12, 60), st.integers(12, 60))
def test_random_shifts_keep_any_box_inside(seed, height, width):
    torch.manual_seed(seed)
    boxes = (torch.rand(5, 2, 2).sort(dim=1).values * torch.tensor([width, height])).floor().reshape(5, 4)
    moved = boxes + torch.tensor(random_shifts(boxes, (height, width)))[:, [1, 0, 1, 0]]
    assert (moved >= 0).all()
    assert (moved <= torch.tensor([width, height, width, height])).all()


def test_augmentation_off_is_resizing_alone(smear):
    image, target = Augmentation(**OFF)(smear, (90, 120))
    assert torch.equal(image, smear[0])
    assert torch.equal(target["boxes"], smear[1]["boxes"])


def test_an_image_is_cropped_where_that_leaves_much_less_of_it():
    augmentation = Augmentation(crop=192)
    assert augmentation.cropped_size((320, 400)) == (192, 192)
    assert augmentation.cropped_size((400, 320)) == (192, 192)
    for size in ((160, 640), (224, 256), (96, 128)):  # less high than the square; 64 % would be left; small
        assert augmentation.cropped_size(size) == size
    assert Augmentation(crop=0).cropped_size((320, 400)) == (320, 400)


@pytest.mark.parametrize("scale", [1, 2])
def test_a_crop_shows_a_whole_cell_unchanged_and_lies_anywhere_around_it(scale):
    """The image holds its own coordinates, so that each crop says where it was cut."""
    height, width = 240 * scale, 300 * scale
    y, x = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    masks = torch.zeros(2, height, width, dtype=torch.uint8)
    masks[0, 5 * scale : 35 * scale, 8 * scale : 30 * scale] = 1  # at a corner
    masks[1, 150 * scale : 180 * scale, 200 * scale : 240 * scale] = 1
    target = {"boxes": bounding_boxes(masks), "labels": torch.tensor([1, 2]), "masks": masks}
    torch.manual_seed(0)
    starts = {1: [], 2: []}
    for _ in range(600):
        image, cropped = Augmentation(**{**OFF, "crop": 100})((torch.stack([x, y, x]), target), (240, 300))
        assert image.shape[-2:] == cropped["masks"].shape[-2:] == (100, 100)
        [label] = cropped["labels"].tolist()  # the cells are too far apart for one square
        start = torch.tensor([image[0, 0, 0] * 300, image[1, 0, 0] * 240])
        assert torch.allclose(image[:2, -1, -1] * torch.tensor([300, 240]) - start, torch.tensor(99.0), atol=0.6)
        expected = target["boxes"][label - 1] / scale - start.repeat(2)
        assert torch.allclose(cropped["boxes"][0], expected, atol=0.6)
        assert cropped["boxes"].min() >= 0
        assert cropped["boxes"].max() <= 100
        starts[label].append(start)
    corner, middle = (torch.stack(found) for found in starts.values())
    assert 240 < len(corner) < 360
    assert corner.amin(0).abs().max() < 1  # not beyond the border
    assert (corner.amax(0) - torch.tensor([8, 5])).abs().max() < 2
    assert (middle.amin(0) - torch.tensor([140, 80])).abs().max() < 5
    assert (middle.amax(0) - torch.tensor([200, 140])).abs().max() < 5  # the image ends at 300 and 240


def test_an_image_without_cells_is_cropped_anywhere():
    image = (torch.arange(300) / 300).expand(3, 240, 300)
    target = {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.int64),
        "masks": torch.zeros(0, 240, 300),
    }
    torch.manual_seed(0)
    crops = [Augmentation(**{**OFF, "crop": 100})((image, target), (240, 300)) for _ in range(60)]
    lefts = torch.tensor([float(crop[0, 0, 0] * 300) for crop, _ in crops])
    assert lefts.min() < 20
    assert lefts.max() > 180
    assert all(cropped["masks"].shape == (0, 100, 100) for _, cropped in crops)


def test_cells_are_pasted_into_a_crop_at_its_scale():
    height, width = 240, 300
    masks = (torch.hypot(*torch.meshgrid(torch.arange(240.0) - 120, torch.arange(300.0) - 150, indexing="ij")) < 15)[
        None
    ]
    image = torch.where(masks, 0.3, 0.9).expand(3, height, width)
    donor = image, {"boxes": bounding_boxes(masks), "labels": torch.tensor([3]), "masks": masks}
    empty = torch.full_like(image, 0.9), {name: values[:0] for name, values in donor[1].items()}
    torch.manual_seed(0)
    for _ in range(20):
        _, target = Augmentation(**{**OFF, "crop": 100})(empty, (240, 300), donors=[donor])
        assert target["masks"].shape[-2:] == (100, 100)
        if len(target["boxes"]):
            assert (target["boxes"][0, 2:] - target["boxes"][0, :2]).tolist() == [29, 29]
            assert target["labels"].tolist() == [3]


def test_augmentation_is_deterministic_by_seed_and_does_not_change_its_input(smear):
    before = smear[0].clone(), {name: value.clone() for name, value in smear[1].items()}
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        results.append(Augmentation()(smear, (60, 80), donors=[smear]))
    assert same(results[0], results[1])
    assert not torch.equal(results[0][0], results[2][0])
    assert same(before, smear)
