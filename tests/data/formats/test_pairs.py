import pytest

from data.formats.pairs import by_key, masks_by_image, origins


def test_files_of_one_name_are_listed_apart(tmp_path, touch):
    files = [touch(tmp_path / name) for name in ("a.jpg", "a.png", "u/a.png", "B.png")]
    found, twice = by_key(files, tmp_path)
    assert found == {"a": files[0], "u/a": files[2], "b": files[3]}
    assert [(each.path, each.reason) for each in twice] == [(files[1], "the same name as a.jpg; keep one of the two")]


def test_of_names_that_differ_in_letter_case_none_is_used(tmp_path):
    files = [tmp_path / name for name in ("A.png", "a.png", "b.png")]
    found, twice = by_key(files, tmp_path)
    assert found == {"b": files[2]}
    assert [str(each) for each in twice] == [
        f"{file}: A.png and a.png differ in letter case; rename one" for file in files[:2]
    ]


def test_a_mask_has_the_name_of_its_image_or_an_ending_more(tmp_path):
    images = {name: tmp_path / name for name in ("a", "b_img", "c_label", "d")}
    names = ("a_cp_masks", "a", "b-mask", "c_label", "d_expert2", "z_mask")
    masks = {name: tmp_path / "masks" / name for name in names}
    own, of_none = masks_by_image(images, masks)
    assert {image: [mask.name for mask in found] for image, found in own.items()} == {
        "a": ["a", "a_cp_masks"],
        "b_img": ["b-mask"],
        "c_label": ["c_label"],
        "d": ["d_expert2"],
    }
    assert of_none == [masks["z_mask"]]


@pytest.mark.parametrize(
    "names",
    [
        ["Patient 0", "patient_12"],
        ["P1"],
        ["slide-3", "Slide4"],
        ["2023-01-05", "104729"],
        ["Patient Meier", "slide_A"],
        ["fold1", "set 2", "hospital3"],
        ["001", "002"],
        ["20x", "40x"],
    ],
)
def test_folders_may_be_named_after_patients(tmp_path, touch, names):
    for name in names:
        touch(tmp_path / name / "a.png")
    assert sorted(origins(tmp_path)) == sorted(names)


@pytest.mark.parametrize(
    "names",
    [["Patient 0", "Monocyte"], ["1", "2"], ["type 1", "type 2"], ["M0", "M1"], ["pat"], ["Group", "setup"]],
)
def test_other_folders_may_be_classes(tmp_path, touch, names):
    for name in names:
        touch(tmp_path / name / "a.png")
    assert origins(tmp_path) == []
