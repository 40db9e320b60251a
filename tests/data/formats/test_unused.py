import pytest

from data.formats import index_dataset


@pytest.fixture
def left_out(tmp_path, make_tutorial, touch):
    """Names of files -> what is said of them, beside a data set that is as it should be."""

    def listed(*names: str) -> dict[str, str]:
        make_tutorial(tmp_path)
        for name in names:
            touch(tmp_path / name)
        skipped = index_dataset(tmp_path).skipped
        assert not any(item.is_error for item in skipped)
        return {str(item.path.relative_to(tmp_path)): item.reason for item in skipped}

    return listed


def test_hidden_images_are_listed_but_not_those_of_programs(left_out):
    reason = "hidden files and folders are not read; rename it without the dot"
    assert left_out(
        *(
            "train/image/.Mast/1.png",
            "train/image/.Mast/u/2.png",
            "train/image/Basophil/.odd.png",
            "._a.png",
            ".DS_Store",
        ),
        *(".git/a.png", ".ipynb_checkpoints/a.png", "__MACOSX/a.png", ".same-fields.json", ".vscode/a.json"),
    ) == {
        "train/image/.Mast": f"images in it: 2; {reason}",
        "train/image/Basophil/.odd.png": reason,
    }


def test_hidden_images_behind_links_are_listed(tmp_path, touch, make_tutorial):
    make_tutorial(tmp_path / "set")
    touch(tmp_path / "disk/.more/1.png")
    (tmp_path / "set/link").symlink_to(tmp_path / "disk", target_is_directory=True)
    assert [item.path for item in index_dataset(tmp_path / "set").skipped] == [tmp_path / "set/link/.more"]


def test_files_of_one_ending_are_one_line(left_out):
    assert left_out("more/1.png", "more/2.png", "one/1.png", "c", "d", "x.heic") == {
        "more": "2 files *.png: not read as class-folders",
        "one/1.png": "not read as class-folders",
        "x.heic": "this kind of image is not read; save it as PNG",
        ".": "2 files without ending: this kind of file is not read",
    }


def test_files_beside_used_ones_are_others(tmp_path, touch):
    for name in ("a.png", "a_masks.png", "a_overlay.png", "a_cp_output.png"):
        touch(tmp_path / name)
    (skipped,) = index_dataset(tmp_path).skipped
    assert str(skipped) == f"{tmp_path}: 2 other files *.png: not read as label-maps"


def test_a_zip_beside_data_of_another_format_is_listed(left_out):
    assert left_out("more/a.zip", "README.md", "data.yaml") == {"more/a.zip": "not read as class-folders"}
