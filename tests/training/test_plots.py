import torch
from torch.utils.data import Dataset

from maskrcnn import Config, MaskRCNN
from maskrcnn.training.plots import plot_curves, plot_examples, plot_predictions

NAMES = ("round", "square")


def test_ground_truth_is_left_and_predictions_right_one_row_per_example(image, objects, nothing, prediction_of):
    examples = [(image, objects, prediction_of(objects, 0.9)), (image, nothing, prediction_of(objects, 0.2))]
    figure = plot_predictions(examples, NAMES)
    texts = [[text.get_text() for text in ax.texts] for ax in figure.axes]
    assert texts == [["square"], ["square 0.90"], [], []]
    assert figure.axes[0].get_title() == "ground truth"
    assert figure.axes[1].get_title() == "predictions (score at least 0.5)"


def line(epoch):
    losses = {"loss_classifier": 1.0 / epoch, "loss_mask": 2.0 / epoch}
    precision = {"ap": 0.1 * epoch, "ap50": 0.2 * epoch}
    kinds = dict.fromkeys(("box", "mask", "mask_class_agnostic"), precision)
    return {"epoch": epoch, "train": losses, "val": {name: 2 * value for name, value in losses.items()}, **kinds}


def test_curves_show_each_loss_in_training_and_validation_and_each_precision():
    losses, precision = plot_curves([line(1), line(2)]).axes
    plotted = [(drawn.get_linestyle(), list(drawn.get_ydata())) for drawn in losses.lines]
    assert plotted == [("-", [1.0, 0.5]), ("--", [2.0, 1.0]), ("-", [2.0, 1.0]), ("--", [4.0, 2.0])]
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["loss_classifier", "loss_mask"]
    assert [drawn.get_label() for drawn in precision.lines] == [
        "mask AP", "mask AP50", "box AP", "box AP50", "class-agnostic mask AP", "class-agnostic mask AP50"
    ]  # fmt: skip
    assert [list(drawn.get_ydata()) for drawn in precision.lines] == [[0.1, 0.2], [0.2, 0.4]] * 3


def test_examples_are_spread_over_the_data_set():
    """Image k is k / 10 all over, so that its brightness says which one it is."""

    class Numbered(Dataset):
        def __len__(self):
            return 10

        def __getitem__(self, k):
            masks = torch.zeros(0, 32, 32, dtype=torch.uint8)
            return torch.full((3, 32, 32), k / 10), {
                "boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long(), "masks": masks
            }  # fmt: skip

    model = MaskRCNN(Config.small(min_size=32, max_size=32, fpn_channels=32, box_head_dim=8, mask_head_channels=32))
    figure = plot_examples(model, Numbered(), "float32", count=4)
    shown = [round(10 * float(ax.images[0].get_array().mean())) for ax in figure.axes]
    assert shown == [0, 0, 3, 3, 6, 6, 9, 9]  # each image twice: truth and prediction
