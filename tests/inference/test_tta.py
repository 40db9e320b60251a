import pytest
import torch

from maskrcnn import Config, MaskRCNN
from maskrcnn.inference.detect import detect
from maskrcnn.inference.objects import Objects, joined
from maskrcnn.inference.tta import SYMMETRIES, detect_tta, invert, invert_boxes, invert_objects, merge, transform


def bounding_box(mask: torch.Tensor) -> list[int]:
    rows, columns = torch.where(mask)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_inverting_undoes_the_transform_and_boxes_follow(symmetry):
    image = torch.rand(3, 20, 30)
    assert torch.equal(invert(transform(image, symmetry), symmetry), image)
    mask = torch.zeros(20, 30)
    mask[3:9, 14:28] = 1
    box = torch.tensor([bounding_box(transform(mask, symmetry))]).float()
    assert invert_boxes(box, symmetry, 20, 30).tolist() == [[14, 3, 28, 9]]


def test_the_eight_symmetries_differ():
    image = torch.arange(12.0).reshape(1, 3, 4)
    views = [tuple(map(tuple, transform(image, symmetry)[0].tolist())) for symmetry in SYMMETRIES]
    assert len(set(views)) == len(SYMMETRIES) == 8


def objects_of(boxes, labels, scores, masks):
    values = {"boxes": torch.tensor(boxes), "labels": torch.tensor(labels), "scores": torch.tensor(scores)}
    return Objects.of_result({**values, "masks": masks})


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_objects_of_a_view_are_put_back_where_they_are_in_the_image(symmetry):
    mask = torch.zeros(20, 30)
    mask[3:9, 14:28] = torch.rand(6, 14)
    seen = transform(mask, symmetry)
    objects = objects_of([[float(x) for x in bounding_box(seen)]], [1], [0.5], seen[None, None])
    back = invert_objects(objects, symmetry).result()
    assert torch.equal(back["masks"][0, 0], mask)
    assert back["boxes"].tolist() == [[14, 3, 28, 9]]


def test_objects_are_merged_over_the_views():
    """Two objects: one in all eight views, thrice with another class, once with both; one in a single view, twice."""
    level = torch.linspace(0, 1, 11)[:, None, None, None].expand(11, 1, 4, 4)
    views = [
        objects_of([[10.0 + view / 10, 10, 30, 30]], [2 if view < 3 else 1], [0.8], level[[view]])
        for view in SYMMETRIES
    ]
    views[5] = joined(
        [views[5], objects_of([[50.0, 10, 60, 20], [50.0, 10, 60, 21]], [3, 3], [0.9, 0.4], level[[8, 9]])], (4, 4)
    )
    views[0] = joined([views[0], objects_of([[10.0, 10, 30, 30]], [1], [0.2], level[[10]])], (4, 4))
    merged = merge(views, (4, 4), 3, score_threshold=0.1)
    assert merged.labels.tolist() == [1, 2, 3]
    assert merged.scores.tolist() == pytest.approx([(0.8 * 5 + 0.2) / 8, 0.8 * 3 / 8, 0.9 / 8])
    masks = merged.result()["masks"]
    for k in range(2):  # one object with two classes
        assert merged.boxes[k].tolist() == pytest.approx([10.35, 10, 30, 30])
        assert masks[k].unique().item() == pytest.approx(torch.linspace(0, 1, 11)[:8].mean().item())
    assert merged.boxes[2].tolist() == [50, 10, 60, 20]  # the better of the two of that view
    assert merge(views, (4, 4), 3, score_threshold=0.2).labels.tolist() == [1, 2]


def test_a_merged_box_is_the_mean_weighted_by_score():
    masks = torch.ones(1, 1, 40, 40)
    views = [objects_of([[10.0, 10, 30, 30]], [1], [0.9], masks), objects_of([[14.0, 10, 34, 30]], [1], [0.3], masks)]
    assert merge(views, (40, 40), 1, score_threshold=0.01).boxes.tolist() == [pytest.approx([11, 10, 31, 30])]


def test_for_an_equivariant_model_the_result_is_that_of_one_view():
    """In place of the model: bright pixels are the object."""

    def bright(image):
        mask = (image[0] > 0.5).float()
        return objects_of([[float(x) for x in bounding_box(mask)]], [2], [0.7], mask[None, None])

    image = torch.zeros(3, 30, 50)
    image[:, 4:11, 20:45] = 1
    result = detect_tta(bright, image, 5, boxes_around_masks=True)
    assert torch.allclose(result.boxes, torch.tensor([[20.0, 4, 45, 11]]))
    assert result.scores.tolist() == pytest.approx([0.7])
    assert torch.allclose(result.result()["masks"][0, 0], image[0])


def test_with_the_model_objects_are_best_first_and_boxes_lie_around_masks():
    torch.manual_seed(0)
    model = MaskRCNN(Config.small(min_size=64, max_size=96)).eval()
    image = torch.rand(3, 40, 60)
    result = detect_tta(lambda view: detect(model, view), image, 5, boxes_around_masks=True, score_threshold=0.01)
    assert result.size == (40, 60)
    assert (result.scores.diff() <= 0).all()
    assert any(result.regions())
    for box, region in zip(result.boxes.tolist(), result.regions(), strict=True):
        assert region is None or box == list(region.box)
    nothing = detect_tta(lambda view: detect(model, view), image, 5, True, score_threshold=1.1)
    assert nothing.result()["masks"].shape == (0, 1, 40, 60)
    assert nothing.boxes.shape == (0, 4)
