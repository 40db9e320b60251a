import pytest
import torch

from maskrcnn.run_pictures import comparison, curves

NAMES = ("round", "square")


@pytest.fixture
def image():
    return torch.rand(3, 60, 80, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def objects():
    masks = torch.zeros(1, 60, 80, dtype=torch.uint8)
    masks[0, 30:50, 20:40] = 1
    return {"boxes": torch.tensor([[20.0, 30.0, 40.0, 50.0]]), "labels": torch.tensor([2]), "masks": masks}


@pytest.fixture
def nothing():
    return {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long(), "masks": torch.zeros(0, 60, 80)}


def prediction_of(objects, score):
    """A prediction has scores, and masks of one channel."""
    return {**objects, "scores": torch.tensor([score]), "masks": objects["masks"][:, None].float() * 0.9}


def test_a_comparison_has_ground_truth_left_and_prediction_right_a_row_an_example(image, objects, nothing):
    examples = [(image, objects, prediction_of(objects, 0.9)), (image, nothing, prediction_of(objects, 0.2))]
    figure = comparison(examples, NAMES)
    texts = [[text.get_text() for text in ax.texts] for ax in figure.axes]
    assert texts == [["square"], ["square 0.90"], [], []]
    assert figure.axes[0].get_title() == "ground truth"
    assert figure.axes[1].get_title() == "prediction (score at least 0.5)"


def line(epoch):
    losses = {"loss_classifier": 1.0 / epoch, "loss_mask": 2.0 / epoch}
    precision = {"ap": 0.1 * epoch, "ap50": 0.2 * epoch}
    kinds = dict.fromkeys(("box", "mask", "mask_any_class"), precision)
    return {"epoch": epoch, "train": losses, "val": {name: 2 * value for name, value in losses.items()}, **kinds}


def test_curves_show_each_loss_in_training_and_validation_and_each_precision():
    losses, precision = curves([line(1), line(2)]).axes
    plotted = [(drawn.get_linestyle(), list(drawn.get_ydata())) for drawn in losses.lines]
    assert plotted == [("-", [1.0, 0.5]), ("--", [2.0, 1.0]), ("-", [2.0, 1.0]), ("--", [4.0, 2.0])]
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["loss_classifier", "loss_mask"]
    assert [drawn.get_label() for drawn in precision.lines] == [
        "mask AP", "mask AP50", "box AP", "box AP50", "any-class mask AP", "any-class mask AP50"
    ]  # fmt: skip
    assert [list(drawn.get_ydata()) for drawn in precision.lines] == [[0.1, 0.2], [0.2, 0.4]] * 3
