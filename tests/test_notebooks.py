"""What makes an output of a lesson stale, and that all lessons were run."""

import importlib.util
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

FOLDER = Path(__file__).parents[1] / "notebooks"
LESSONS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(scope="module")
def runner():
    sys.path.insert(0, str(FOLDER))  # as when it is started from a shell
    spec = importlib.util.spec_from_file_location("check_notebooks", FOLDER / "check_notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(FOLDER))


def notebook(*outputs, tags=()):
    cell = v4.new_code_cell("1", outputs=list(outputs))
    cell.metadata["tags"] = list(tags)
    return v4.new_notebook(cells=[v4.new_markdown_cell("# title"), cell])


def printed(text):
    return v4.new_output("stream", text=text)


def picture(kind="image/png"):
    return v4.new_output("display_data", data={kind: "abc", "text/plain": "<Figure>"})


@pytest.mark.parametrize(
    ("old", "new", "is_stale"),
    [
        ([printed("IoU 0.884\n")], [printed("IoU 0.891\n")], False),
        (
            [printed("boxes: float32 [4, 4], 26.56 to 200\n")],
            [printed("boxes: float32 [4, 4], -0.5 to 201.3\n")],
            False,
        ),
        ([printed("boxes: float32 [4, 4], 1 to 2\n")], [printed("boxes: float32 [5, 4], 1 to 2\n")], True),
        ([printed("8961 anchors\n")], [printed("8962 anchors\n")], True),
        ([printed("right\n")], [printed("wrong\n")], True),
        ([picture()], [picture()], False),
        ([picture()], [picture("image/jpeg")], True),
        ([picture()], [picture(), picture()], True),
        ([], [printed("a warning\n")], True),
    ],
)
def test_shapes_and_counts_matter_and_digits_do_not(runner, old, new, is_stale):
    assert bool(list(runner.stale(notebook(*old), notebook(*new)))) == is_stale


def test_where_the_count_varies_only_kinds_matter(runner):
    old, new = printed("4 cells\n"), printed("5 cells\nand more\n")
    assert not list(runner.stale(notebook(old, tags=["varies"]), notebook(new)))
    assert list(runner.stale(notebook(old, tags=["varies"]), notebook(picture())))


def test_pieces_of_what_is_printed_are_joined(runner):
    pieces = [printed("a\n"), printed("b\n"), picture(), printed("c\n")]
    assert [output.get("text") for output in runner.merged(pieces)] == ["a\nb\n", None, "c\n"]


def test_a_long_large_or_slow_lesson_is_named(runner):
    assert not list(runner.limits(notebook()))
    many = v4.new_notebook(cells=[v4.new_markdown_cell("a") for _ in range(26)])
    assert list(runner.limits(many)) == ["26 cells, more than 25"]
    assert "bytes" in " ".join(runner.limits(notebook(printed("x" * 1_000_001))))


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_was_run_from_top_to_bottom_without_errors_and_has_pictures(path):
    lesson = nbformat.read(path, as_version=4)
    code = [cell for cell in lesson.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert any("image/jpeg" in output.get("data", {}) for cell in code for output in cell.outputs)
    assert not any(output.output_type == "error" for cell in code for output in cell.outputs)


def test_there_are_ten_lessons_in_the_papers_order():
    assert [path.name[:2] for path in LESSONS] == [f"{k:02d}" for k in range(10)]
