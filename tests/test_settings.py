import pytest

from data.augment import Augmentation
from maskrcnn import Config
from maskrcnn.settings import parse_settings, share


def test_a_setting_goes_where_its_name_is():
    texts = ["roi_batch=64", "mask_head_norm=True", "anchor_sizes=((8,), (16, 32))", "norm=groupnorm", "stain=0"]
    of_model, of_augmentation = parse_settings(texts, Config(), Augmentation())
    assert of_model == {
        "roi_batch": 64,
        "mask_head_norm": True,
        "anchor_sizes": ((8,), (16, 32)),
        "norm": "groupnorm",
    }
    assert of_augmentation == {"stain": 0.0}
    assert isinstance(of_augmentation["stain"], float)  # a whole number is a number
    assert parse_settings(["backbone='resnet50'"], Config()) == [{"backbone": "resnet50"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("roi_batch", "NAME=VALUE"),
        ("roi_bach=64", r"there is no roi_bach; roi_batch\?"),
        ("colour=1", "there is no colour"),
        ("mask_head_norm=false", "false is not of the type of False"),  # a text, which would count as true
        ("mask_head_norm=1", "1 is not"),
        ("roi_batch=True", "True is not"),
        ("min_size=big", "big is not of the type of 800"),
        ("min_size=2.5", "2.5 is not"),
        ("stain=off", "off is not of the type of"),
    ],
)
def test_a_wrong_setting_is_named(text, message):
    with pytest.raises(ValueError, match=f"--set {text}: .*{message}"):
        parse_settings([text], Config(), Augmentation())


def test_a_share_is_a_number_from_0_to_1():
    assert share("0.25") == 0.25
    for text in ("-0.1", "1.1", "half", "nan"):
        with pytest.raises(Exception, match=f"{text} is not a number from 0 to 1"):
            share(text)
