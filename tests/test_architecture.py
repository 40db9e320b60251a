"""Who may import whom, what may be installed, and how long a function may be."""

import ast
import configparser
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From low to high. A module imports from its own room and from rooms in lower rows, never from another room in its row.
# A name is a module or a folder with all that is in it; the longest name that fits counts. A package's own file is
# written out, as maskrcnn.__init__. Config is high up because its values reach a stage as arguments, never as a Config.
ORDER = {
    "maskrcnn": """
        describe boxes regions durable interrupts
        kernels
        rpn.nms roi.align images matching
        backbone rpn roi heads
        presets
        config
        architectures
        model
        __init__
        weights visualization
        inference
        export
        evaluation
        training
        __main__
    """,
    "data": """
        __init__ records colour
        classes
        shapes
        formats
        mask_values laboratory
        mask_levels
        mask_kinds
        mask_mending
        mask_codes
        masks
        image_io
        samples
        dataset patch_matches augment
        duplicates
        opening
        arguments
        splits loader image_size
        inspect synthetic convert
        __main__
    """,
}
RANK = {
    f"{package}.{room}": row
    for package, table in ORDER.items()
    for row, rooms in enumerate(table.split("\n"))
    for room in rooms.split()
}
STAGES = ("backbone", "rpn", "roi", "heads")

MAX_FUNCTION = 40  # lines, from def to end, docstring and all
LONG_FUNCTIONS = {"train.py": {"train"}}  # the training loop, in one piece on purpose
MAX_STAGE_FILE = 200
SAY_NOTHING = {
    "utils",
    "util",
    "helpers",
    "helper",
    "common",
    "misc",
    "tools",
    "base",
    "core",
    "lib",
    "stuff",
    "shared",
}
INSTALLED_AS = {"pillow": "PIL"}  # distribution -> package, where they differ


def python_files(*places):
    files = []
    for place in places:
        files += ROOT.glob(f"{place}/**/*.py" if (ROOT / place).is_dir() else place)
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in sorted(files)}


def module_name(path):
    return ".".join(Path(path).with_suffix("").parts)


LIBRARY = python_files("maskrcnn", "data")
SCRIPTS = python_files("train.py", "evaluate.py", "predict.py")
EVERYTHING = {**LIBRARY, **SCRIPTS, **python_files("benchmarks", "notebooks", "tests")}


def import_graph(sources):
    """{module: source} -> {module: what it imports, in functions too}: modules of `sources`, else names as they stand."""
    return {module: set(_imports(ast.parse(source), sources)) for module, source in sources.items()}


def _imports(tree, modules):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write imports in full, without dots"
            names = [(node.module, alias.name) for alias in node.names]
        else:
            continue
        for module, name in names:
            candidates = [f"{module}.{name}.__init__", f"{module}.{name}", f"{module}.__init__"]
            yield next((candidate for candidate in candidates if candidate in modules), module)


def find_circle(graph):
    """The modules of a circle of imports, the first one again at the end; [] if there is none."""
    try:
        TopologicalSorter({module: targets & graph.keys() for module, targets in graph.items()}).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def room(module):
    """The longest name in the table that this module is, or is in; None without one."""
    return max((r for r in RANK if module == r or module.startswith(f"{r}.")), key=len, default=None)


def wrong_arrows(graph):
    """Imports, as "from -> to", that the table does not allow. data may import all of maskrcnn, maskrcnn nothing of data."""
    wrong = []
    for module, targets in graph.items():
        for target in targets & graph.keys():
            here, there = room(module), room(target)
            package, other = module.split(".")[0], target.split(".")[0]
            if package != other:
                allowed = (package, other) == ("data", "maskrcnn")
            else:
                allowed = here == there or (here and there and RANK[there] < RANK[here])
            if not allowed:
                wrong.append(f"{module} -> {target}")
    return sorted(wrong)


LIBRARY_GRAPH = import_graph({module_name(path): source for path, source in LIBRARY.items()})


def test_no_circle_of_imports():
    assert find_circle(LIBRARY_GRAPH) == []


def test_imports_point_one_way():
    assert wrong_arrows(LIBRARY_GRAPH) == []


def test_every_module_has_its_place_in_the_table_and_the_table_names_no_other():
    assert [module for module in LIBRARY_GRAPH if room(module) is None] == []
    assert set(RANK) - {room(module) for module in LIBRARY_GRAPH} == set()


def test_only_what_is_declared_is_imported():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    required = {line.split()[0] for line in setup["options"]["install_requires"].split("\n") if line}
    allowed = {INSTALLED_AS.get(name, name) for name in required} | {"maskrcnn", "data"} | set(sys.stdlib_module_names)
    assert "torchvision" not in allowed
    extras = [names for extra, names in setup["options.extras_require"].items() if extra != "dev"]
    allowed |= {name for names in extras for name in names.split()}
    graph = import_graph({**LIBRARY, **SCRIPTS})
    packages = {path: {target.split(".")[0] for target in targets} for path, targets in graph.items()}
    assert {path: names - allowed for path, names in packages.items() if names - allowed} == {}


def test_torchvision_is_for_tests_and_benchmarks_alone():
    elsewhere = {path: source for path, source in EVERYTHING.items() if not path.startswith(("tests/", "benchmarks/"))}
    graph = import_graph(elsewhere)
    assert [path for path, targets in graph.items() if any(t.split(".")[0] == "torchvision" for t in targets)] == []


def function_lengths(source):
    functions = [f for f in ast.walk(ast.parse(source)) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [(function.name, function.end_lineno - function.lineno + 1) for function in functions]


@pytest.mark.parametrize("path", EVERYTHING)
def test_a_function_fits_on_a_screen(path):
    long = {name for name, lines in function_lengths(EVERYTHING[path]) if lines > MAX_FUNCTION}
    assert long == LONG_FUNCTIONS.get(path, set())


@pytest.mark.parametrize("stage", [*STAGES, "kernels"])
def test_a_file_of_a_stage_fits_in_a_sitting(stage):
    files = {path: source for path, source in LIBRARY.items() if path.startswith(f"maskrcnn/{stage}/")}
    assert len(files) > 2
    assert {path for path, source in files.items() if source.count("\n") > MAX_STAGE_FILE} == set()


def test_a_file_has_a_name_that_says_what_is_in_it():
    assert [path for path in EVERYTHING if SAY_NOTHING & set(Path(path).with_suffix("").parts)] == []


# The checks themselves, on graphs made up for the purpose.


def test_the_graph_has_imports_in_functions_of_submodules_and_of_packages():
    sources = {
        "maskrcnn.__init__": "from maskrcnn.model import MaskRCNN",
        "maskrcnn.model": "def f():\n    from maskrcnn import boxes as algebra, Config\n    import torch, maskrcnn.rpn.nms",
        "maskrcnn.boxes": "if True:\n    from torch import Tensor",
        "maskrcnn.rpn.__init__": "from maskrcnn.rpn import nms",
        "maskrcnn.rpn.nms": "",
    }
    assert import_graph(sources) == {
        "maskrcnn.__init__": {"maskrcnn.model"},
        "maskrcnn.model": {"maskrcnn.boxes", "maskrcnn.__init__", "torch", "maskrcnn.rpn.nms"},
        "maskrcnn.boxes": {"torch"},
        "maskrcnn.rpn.__init__": {"maskrcnn.rpn.nms"},
        "maskrcnn.rpn.nms": set(),
    }
    with pytest.raises(AssertionError, match="line 1"):
        import_graph({"maskrcnn.rpn.nms": "from . import head"})


def test_a_circle_is_found_and_a_fork_is_none():
    fork = {"a": {"b", "c", "torch"}, "b": {"d"}, "c": {"d"}, "d": set()}
    assert find_circle(fork) == []
    assert set(find_circle({**fork, "d": {"a"}})) >= {"a", "d"}
    assert find_circle({"a": {"a"}}) == ["a", "a"]


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("maskrcnn.heads.box", "maskrcnn.rpn.head"),  # a stage imports another one
        ("maskrcnn.roi.sampling", "maskrcnn.rpn.__init__"),
        ("maskrcnn.rpn.nms", "maskrcnn.rpn.head"),  # an operator that needs the stage around it
        ("maskrcnn.rpn.nms", "maskrcnn.roi.align"),
        ("maskrcnn.heads.mask", "maskrcnn.config"),
        ("maskrcnn.heads.mask", "maskrcnn.model"),
        ("maskrcnn.images", "maskrcnn.__init__"),
        ("maskrcnn.boxes", "maskrcnn.describe"),  # of one row
        ("maskrcnn.kernels.group_norm", "maskrcnn.images"),
        ("maskrcnn.model", "maskrcnn.weights.checkpoint"),
        ("maskrcnn.inference.detect", "maskrcnn.evaluation.iou"),
        ("maskrcnn.training.schedule", "data.dataset"),
        ("data.records", "data.dataset"),
        ("data.inspect.report", "data.synthetic.cell"),
        ("data.nowhere", "data.records"),  # what is not in the table may import nothing
    ],
)
def test_a_wrong_arrow_is_found(module, target):
    assert wrong_arrows({module: {target}, target: set()}) == [f"{module} -> {target}"]


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("maskrcnn.heads.mask", "maskrcnn.roi.align"),  # the two operators are for everyone
        ("maskrcnn.heads.postprocess", "maskrcnn.rpn.nms"),
        ("maskrcnn.heads.paste", "maskrcnn.heads.box"),
        ("maskrcnn.model", "maskrcnn.config"),
        ("maskrcnn.training.plots", "maskrcnn.evaluation.iou"),
        ("data.augment", "maskrcnn.boxes"),
        ("data.dataset", "maskrcnn.inference.image_io"),
        ("data.inspect.report", "data.records"),
    ],
)
def test_a_right_arrow_is_let_pass(module, target):
    assert wrong_arrows({module: {target, "torch"}, target: set()}) == []


def test_the_length_of_a_function_counts_all_its_lines():
    source = 'class A:\n    def f(\n        self,\n    ):\n        """Two\n        lines."""\n        return 1\n'
    assert function_lengths(source) == [("f", 6)]
