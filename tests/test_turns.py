import pytest
import torch

from maskrcnn import Config, MaskRCNN
from maskrcnn.turns import WAYS, _agree, detect_all_ways, lay, lay_back, lay_back_boxes


def bounding_box(mask: torch.Tensor) -> list[int]:
    rows, columns = torch.where(mask)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


@pytest.mark.parametrize("way", range(WAYS))
def test_laying_back_undoes_laying_and_boxes_follow(way):
    image = torch.rand(3, 20, 30)
    assert torch.equal(lay_back(lay(image, way), way), image)
    mask = torch.zeros(20, 30)
    mask[3:9, 14:28] = 1
    box = torch.tensor([bounding_box(lay(mask, way))]).float()
    assert lay_back_boxes(box, way, 20, 30).tolist() == [[14, 3, 28, 9]]


def test_the_eight_ways_differ():
    image = torch.arange(12.0).reshape(1, 3, 4)
    laid = [tuple(map(tuple, lay(image, way)[0].tolist())) for way in range(WAYS)]
    assert len(set(laid)) == WAYS


def test_what_the_ways_agree_on():
    """Two objects: one seen by all eight ways, thrice under another class, once under both; one by a single way, twice."""
    boxes, labels, scores, ways = [], [], [], []
    for way in range(WAYS):
        boxes.append([10.0 + way / 10, 10, 30, 30])
        labels.append(2 if way < 3 else 1)
        scores.append(0.8)
        ways.append(way)
    boxes += [[50.0, 10, 60, 20], [50.0, 10, 60, 21], [10, 10, 30, 30]]
    found = {
        "boxes": torch.tensor(boxes), "labels": torch.tensor([*labels, 3, 3, 1]),
        "scores": torch.tensor([*scores, 0.9, 0.4, 0.2]), "way": torch.tensor([*ways, 5, 5, 0]),
        "masks": torch.linspace(0, 1, 11)[:, None, None, None].expand(11, 1, 4, 4),
    }  # fmt: skip
    result = _agree(found, 3, min_score=0.1)
    assert result["labels"].tolist() == [1, 2, 3]
    assert result["scores"].tolist() == pytest.approx([(0.8 * 5 + 0.2) / 8, 0.8 * 3 / 8, 0.9 / 8])
    for k in range(2):  # one object under two names
        assert result["boxes"][k].tolist() == pytest.approx([10.35, 10, 30, 30])
        assert result["masks"][k].unique().item() == pytest.approx(torch.linspace(0, 1, 11)[:8].mean().item())
    assert result["boxes"][2].tolist() == [50, 10, 60, 20]  # the surer of the two of that way
    assert _agree(found, 3, min_score=0.2)["labels"].tolist() == [1, 2]


def test_a_model_that_is_blind_to_turns_gives_the_same_as_one_way():
    """In place of the model: bright pixels are the object."""

    class Bright:
        config = Config.lisc()

        def __call__(self, images):
            mask = (images[0][0] > 0.5).float()
            box = torch.tensor([bounding_box(mask)]).float()
            return [
                {"boxes": box, "labels": torch.tensor([2]), "scores": torch.tensor([0.7]), "masks": mask[None, None]}
            ]

    image = torch.zeros(3, 30, 50)
    image[:, 4:11, 20:45] = 1
    result = detect_all_ways(Bright(), image)
    assert torch.allclose(result["boxes"], torch.tensor([[20.0, 4, 45, 11]]))
    assert result["scores"].tolist() == pytest.approx([0.7])
    assert torch.allclose(result["masks"][0, 0], image[0])


def test_with_the_model_its_form_is_the_models():
    torch.manual_seed(0)
    model = MaskRCNN(Config.lisc(min_size=64, max_size=96)).eval()
    image = torch.rand(3, 40, 60)
    result, single = detect_all_ways(model, image, min_score=0.0), model([image])[0]
    assert set(result) == set(single)
    assert result["masks"].shape == (len(result["scores"]), 1, 40, 60)
    assert (result["scores"].diff() <= 0).all()
    nothing = detect_all_ways(model, image, min_score=1.1)
    assert nothing["masks"].shape == (0, 1, 40, 60)
    assert nothing["boxes"].shape == (0, 4)
