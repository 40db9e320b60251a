import argparse

import pytest

from maskrcnn.inference.arguments import (
    add_renamed_options,
    fraction,
    fraction_below_one,
    natural,
    positive,
    positive_fraction,
    positive_int,
)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (fraction, {"0.25": 0.25, "0": 0.0, "1": 1.0}, ("-0.1", "1.1", "half", "nan")),
        (fraction_below_one, {"0.998": 0.998, "0": 0.0}, ("1", "-0.1", "nan", "x")),
        (positive_fraction, {"1": 1.0, "0.5": 0.5}, ("0", "1.01", "nan", "x")),
        (positive, {"1e-4": 1e-4, "25": 25.0}, ("0", "-1", "inf", "nan", "x")),
        (positive_int, {"1": 1, "40": 40}, ("0", "-1", "1.5", "x", "")),
        (natural, {"0": 0, "7": 7}, ("-1", "1.5", "x", "")),
    ],
)
def test_a_number_outside_its_range_is_refused(kind, good, bad):
    assert {text: kind(text) for text in good} == good
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match="number") as error:
            kind(text)
        assert text in str(error.value)


@pytest.mark.parametrize("arguments", [["--old"], ["--old", "1"], ["--old=1"], ["file", "--old", "1"]])
def test_an_old_option_names_the_new_one(arguments, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*")
    parser.add_argument("--new", required=True)
    add_renamed_options(parser, {"--old": "--new"})
    with pytest.raises(SystemExit) as error:
        parser.parse_args(arguments)
    assert error.value.code == 2
    assert "--old is now called --new" in capsys.readouterr().err
    assert vars(parser.parse_args(["--new", "1"])) == {"files": [], "new": "1"}
    assert "--old" not in parser.format_help()
