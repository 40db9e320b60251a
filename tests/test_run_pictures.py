from maskrcnn.run_pictures import comparison, curves

NAMES = ("round", "square")


def test_a_comparison_has_ground_truth_left_and_prediction_right_a_row_an_example(
    image, objects, nothing, prediction_of
):
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
