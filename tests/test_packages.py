"""What the two packages are to each other and to the world."""

import ast
import sys
from pathlib import Path

import pytest

from data.lisc import CLASSES
from maskrcnn.config import CELLS

ROOT = Path(__file__).parents[1]
MODULES = sorted([*ROOT.glob("maskrcnn/**/*.py"), *ROOT.glob("data/*.py")])
STAGES = ("backbone", "rpn", "roi", "heads")
OPERATORS = (
    "maskrcnn.rpn.nms",
    "maskrcnn.roi.align",
)  # they live with the stage that introduces them; all may use them


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_there_is_something_to_look_at():
    assert len(MODULES) > 30
    assert "torch" in imports(ROOT / "maskrcnn/boxes.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_needs_only_what_it_declares(path):
    allowed = {"torch", "numpy", "PIL", "scipy", "matplotlib", "tqdm", "maskrcnn", "data"}
    outside = {name.split(".")[0] for name in imports(path)} - allowed
    assert outside <= set(sys.stdlib_module_names)
    if path.is_relative_to(ROOT / "maskrcnn"):
        assert not any(name.split(".")[0] == "data" for name in imports(path))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_never_imports_another_stage_nor_the_config(stage):
    for path in (ROOT / "maskrcnn" / stage).glob("*.py"):
        for name in imports(path) - set(OPERATORS):
            assert not any(name.startswith(f"maskrcnn.{other}") for other in STAGES if other != stage), (
                f"{path}: {name}"
            )
            assert name not in ("maskrcnn.config", "maskrcnn.model"), f"{path}: {name}"


def test_data_and_model_agree_on_the_classes():
    assert CELLS == CLASSES
