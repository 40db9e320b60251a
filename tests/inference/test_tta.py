import pytest
import torch

from maskrcnn import Config, MaskRCNN
from maskrcnn.inference.tta import SYMMETRIES, invert, invert_boxes, merge, predict_tta, transform


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


def test_objects_are_merged_over_the_views():
    """Two objects: one in all eight views, thrice with another class, once with both; one in a single view, twice."""
    boxes, labels, scores, views = [], [], [], []
    for view in SYMMETRIES:
        boxes.append([10.0 + view / 10, 10, 30, 30])
        labels.append(2 if view < 3 else 1)
        scores.append(0.8)
        views.append(view)
    boxes += [[50.0, 10, 60, 20], [50.0, 10, 60, 21], [10, 10, 30, 30]]
    found = {
        "boxes": torch.tensor(boxes), "labels": torch.tensor([*labels, 3, 3, 1]),
        "scores": torch.tensor([*scores, 0.9, 0.4, 0.2]), "view": torch.tensor([*views, 5, 5, 0]),
        "masks": torch.linspace(0, 1, 11)[:, None, None, None].expand(11, 1, 4, 4),
    }  # fmt: skip
    result = merge(found, 3, score_threshold=0.1)
    assert result["labels"].tolist() == [1, 2, 3]
    assert result["scores"].tolist() == pytest.approx([(0.8 * 5 + 0.2) / 8, 0.8 * 3 / 8, 0.9 / 8])
    for k in range(2):  # one object with two classes
        assert result["boxes"][k].tolist() == pytest.approx([10.35, 10, 30, 30])
        assert result["masks"][k].unique().item() == pytest.approx(torch.linspace(0, 1, 11)[:8].mean().item())
    assert result["boxes"][2].tolist() == [50, 10, 60, 20]  # the better of the two of that view
    assert merge(found, 3, score_threshold=0.2)["labels"].tolist() == [1, 2]


def test_a_merged_box_is_the_mean_weighted_by_score():
    detections = {
        "boxes": torch.tensor([[10.0, 10, 30, 30], [14.0, 10, 34, 30]]), "labels": torch.tensor([1, 1]),
        "scores": torch.tensor([0.9, 0.3]), "view": torch.tensor([0, 1]), "masks": torch.ones(2, 1, 4, 4),
    }  # fmt: skip
    assert merge(detections, 1, score_threshold=0.1)["boxes"].tolist() == [pytest.approx([11, 10, 31, 30])]


def test_for_an_equivariant_model_the_result_is_that_of_one_view():
    """In place of the model: bright pixels are the object."""

    class Bright:
        config = Config.small()

        def __call__(self, images):
            mask = (images[0][0] > 0.5).float()
            box = torch.tensor([bounding_box(mask)]).float()
            return [
                {"boxes": box, "labels": torch.tensor([2]), "scores": torch.tensor([0.7]), "masks": mask[None, None]}
            ]

    image = torch.zeros(3, 30, 50)
    image[:, 4:11, 20:45] = 1
    result = predict_tta(Bright(), image)
    assert torch.allclose(result["boxes"], torch.tensor([[20.0, 4, 45, 11]]))
    assert result["scores"].tolist() == pytest.approx([0.7])
    assert torch.allclose(result["masks"][0, 0], image[0])


def test_with_the_model_its_form_is_the_models():
    torch.manual_seed(0)
    model = MaskRCNN(Config.small(min_size=64, max_size=96)).eval()
    image = torch.rand(3, 40, 60)
    result, single = predict_tta(model, image, score_threshold=0.0), model([image])[0]
    assert set(result) == set(single)
    assert result["masks"].shape == (len(result["scores"]), 1, 40, 60)
    assert (result["scores"].diff() <= 0).all()
    for box, mask in zip(result["boxes"].tolist(), result["masks"][:, 0] > 0.5, strict=True):
        assert not mask.any() or box == bounding_box(mask)
    assert (result["masks"] > 0.5).any()
    nothing = predict_tta(model, image, score_threshold=1.1)
    assert nothing["masks"].shape == (0, 1, 40, 60)
    assert nothing["boxes"].shape == (0, 4)
