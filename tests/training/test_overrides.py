import pytest

from data.augment import Augmentation
from maskrcnn import Config
from maskrcnn.training.overrides import parse_overrides


def test_an_override_goes_to_the_schema_that_has_the_field():
    texts = [
        "box_batch_size_per_image=64",
        "mask_head_norm=True",
        "anchor_sizes=((8,), (16, 32))",
        "norm=groupnorm",
        "stain=0",
    ]
    of_model, of_augmentation = parse_overrides(texts, Config(), Augmentation())
    assert of_model == {
        "box_batch_size_per_image": 64,
        "mask_head_norm": True,
        "anchor_sizes": ((8,), (16, 32)),
        "norm": "groupnorm",
    }
    assert of_augmentation == {"stain": 0.0}
    assert isinstance(of_augmentation["stain"], float)  # a whole number is a number
    assert parse_overrides(["backbone='resnet50'"], Config()) == [{"backbone": "resnet50"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("box_batch_size_per_image", "NAME=VALUE"),
        ("box_batch_size_per_imag=64", r"there is no box_batch_size_per_imag; box_batch_size_per_image\?"),
        ("roi_batch=64", "roi_batch is now called box_batch_size_per_image"),
        ("colour=1", "there is no colour"),
        ("mask_head_norm=false", "expected a bool such as False"),  # a string, which would count as true
        ("mask_head_norm=1", "expected a bool such as False"),
        ("box_batch_size_per_image=True", "expected an int such as 512"),
        ("min_size=big", "expected an int such as 800"),
        ("min_size=2.5", "expected an int such as 800"),
        ("stain=off", "expected a float such as 0.12"),
    ],
)
def test_a_wrong_override_is_named(text, message):
    with pytest.raises(ValueError, match=f"--override {text}: .*{message}"):
        parse_overrides([text], Config(), Augmentation())
