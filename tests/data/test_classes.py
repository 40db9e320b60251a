"""The classes of a data set, as it names them and as --classes says."""

import unicodedata
from pathlib import Path

import pytest

from data.classes import choose_classes, classes_of_model, parse_classes, standard_class
from data.records import DataError, DatasetIndex, ImageRecord, MaskFile
from maskrcnn.config import LISC_CLASSES


def index_of(*labels):
    """A data set with an image for each label."""
    records = [ImageRecord(Path(f"{i}.png"), (MaskFile(Path(f"{i}_mask.png"), name),)) for i, name in enumerate(labels)]
    return DatasetIndex(Path("smears"), records, None, [], [], "class-folders")


def labels_of(index):
    return [record.label for record in index.train]


def test_the_order_and_what_is_merged_are_as_named():
    choice = parse_classes("smudge, blast ,promyelocyte=blast")
    assert choice.names == ("smudge", "blast")
    assert choice.numbered == ("smudge", "blast", "blast")
    assert [choice(label) for label in ("SMUDGE", "Promyelocyte", "blast", "debris")] == [
        "smudge",
        "blast",
        "blast",
        None,
    ]


@pytest.mark.parametrize("text", ["a,,b", "a=", "=a", "a,a", "a,a=b", ""])
def test_classes_that_are_no_list_are_refused(text):
    with pytest.raises(ValueError, match="--classes"):
        parse_classes(text)


def test_names_that_differ_in_letter_case_can_be_told_apart():
    """T and t of a blood count are not the same, if somebody says so."""
    choice = parse_classes("T,t=thrombocyte")
    assert [choice(label) for label in ("T", "t")] == ["T", "thrombocyte"]
    index, names, _ = choose_classes(index_of("T", "t"), choice)
    assert (labels_of(index), names) == (["T", "thrombocyte"], ("T", "thrombocyte"))


def test_names_that_differ_in_letter_case_alone_are_one_class():
    """As train/Blast and val/blast."""
    index, names, notes = choose_classes(index_of("Blast", "blast", "smudge"), None)
    assert (labels_of(index), names) == (["Blast", "Blast", "smudge"], ("Blast", "smudge"))
    assert notes == ["the classes Blast and blast differ in letter case alone and are one: Blast"]


def test_names_in_two_unicode_forms_are_one_class():
    composed, decomposed = (unicodedata.normalize(form, "Weiße Ä") for form in ("NFC", "NFD"))
    index, names, _ = choose_classes(index_of(composed, decomposed), None)
    assert len(names) == len(set(labels_of(index))) == 1


def test_numbers_that_may_be_classes_are_thought_of():
    with pytest.raises(DataError, match=r"none is left; if .* add --mask-kind class-indices"):
        choose_classes(index_of("cell", "cell"), parse_classes("a,b"))


def test_classes_of_lisc_in_any_spelling_are_lisc():
    index, names, notes = choose_classes(index_of("Baso", "eosi", "EOSINOPHILS"), None)
    assert (labels_of(index), names, notes) == (["basophil", "eosinophil", "eosinophil"], LISC_CLASSES, [])
    assert standard_class("mon") is None


def test_a_class_that_is_there_under_a_similar_name_is_asked_for():
    with pytest.raises(DataError, match=r"--classes names Blats, which .* did you mean Blast"):
        choose_classes(index_of("Blast", "smudge"), parse_classes("Blats,smudge"))
    # One that is simply not there is no error: the classes may be those of several data sets.
    _, names, notes = choose_classes(index_of("Blast", "smudge"), parse_classes("monocyte,smudge"))
    assert names == ("monocyte", "smudge")
    assert notes == ["1 annotations of the class Blast are not used (--classes)"]


def test_data_without_any_class_of_those_named_are_refused():
    with pytest.raises(DataError, match=r"names a, b, and the data has Blast, smudge; none is left"):
        choose_classes(index_of("Blast", "smudge"), parse_classes("a,b"))


def test_a_model_keeps_its_classes_and_takes_other_names_for_them():
    choice = classes_of_model(("Blast", "smudge"), "debris=Blast,smudge")
    assert choice.names == ("Blast", "smudge")
    assert choice.numbered == ("Blast", "smudge")
    assert classes_of_model(("Blast", "smudge"), "smudge,Blast").numbered == ("smudge", "Blast")
    own = classes_of_model(("Blast", "smudge"), None)
    assert [own(label) for label in ("blast", "Smudge", "debris")] == ["Blast", "smudge", None]
    with pytest.raises(ValueError, match="the model has no class monocyte; it has Blast, smudge"):
        classes_of_model(("Blast", "smudge"), "monocyte")
