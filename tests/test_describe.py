from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from maskrcnn import backbone, describe, heads, images, roi, rpn
from maskrcnn.describe import described, description
from maskrcnn.images import Batch
from maskrcnn.roi import RoIs


@described
class Output(NamedTuple):
    boxes: list[Tensor]
    scores: Tensor
    strides: tuple[int, ...]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (torch.tensor([[-1.5, 2.0], [0.0, 3.25]]), "float32 [2, 2], -1.5 to 3.25"),
        (torch.arange(6), "int64 [6], 0 to 5"),
        (torch.tensor([True, False]), "bool [2], 0 to 1"),
        (torch.zeros(0, 4), "float32 [0, 4]"),
        (torch.tensor(0.123456), "float32 0.1235"),
        ((4, 8, 16), "(4, 8, 16)"),
        ([torch.zeros(1)], "[\n  0: float32 [1], 0 to 0\n]"),
        ({"loss": torch.tensor(2.0)}, "{\n  loss: float32 2\n}"),
    ],
)
def test_a_value_is_named_with_dtype_shape_and_range(value, text):
    assert description(value) == text


def test_every_field_of_an_output_has_its_line():
    output = Output([torch.zeros(2, 4), torch.ones(1, 4)], torch.tensor([0.5, 0.25]), (4, 8))
    assert description(output) == (
        "Output(\n"
        "  boxes: [\n"
        "    0: float32 [2, 4], 0 to 0\n"
        "    1: float32 [1, 4], 1 to 1\n"
        "  ]\n"
        "  scores: float32 [2], 0.25 to 0.5\n"
        "  strides: (4, 8)\n"
        ")"
    )


def test_what_a_model_does_not_have_is_left_out():
    """Features of a backbone without P1 have no map for masks."""
    features = backbone.Features(("P2",), (torch.zeros(1, 2, 3, 4),), (4,))
    assert "mask_map" not in description(features)
    assert "mask_map: float32 [1, 2, 6, 8], 1 to 1" in description(features._replace(mask_map=torch.ones(1, 2, 6, 8)))


def test_an_output_within_a_mapping_is_indented():
    text = description({"heads": [{"box": Output([], torch.zeros(1), (4,))}]})
    assert "\n      box: Output(\n        boxes: []\n" in text


@pytest.mark.parametrize(
    "output",
    [
        Batch(torch.zeros(1, 3, 8, 8), [(8, 8)], [(5, 7)]),
        RoIs([torch.zeros(1, 4)], [torch.ones(1).long()], [torch.zeros(1).long()]),
    ],
)
def test_a_stages_output_prints_its_description(output):
    assert repr(output) == description(output)
    for name in output._fields:
        assert f"\n  {name}: " in repr(output)


def test_every_stage_yields_what_prints_its_description():
    """But for the losses and the results, which are plain dicts and lists."""
    outputs = [
        value
        for module in (images, backbone, rpn, roi, heads)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, tuple) and hasattr(value, "_fields")
    ]
    assert len(outputs) > 12
    assert [output.__name__ for output in outputs if output.__repr__ is not description] == []


def test_not_a_number_shows_in_the_range():
    assert "nan" in description(torch.tensor([1.0, float("nan")]))


def test_describe_prints_the_description(capsys):
    describe(torch.arange(6))
    assert capsys.readouterr().out == "int64 [6], 0 to 5\n"
