"""Run every lesson from scratch, and say which committed outputs are stale.

    python notebooks/check_notebooks.py              run all, compare with the committed outputs; exit code 1 if one is stale
    python notebooks/check_notebooks.py --write 03   run those whose names begin with 03, and keep the new outputs

Stale: the number of outputs, their kind or their text differs. In text, ranges and numbers with a decimal point are not
compared, since they differ between processors. Of a cell with the tag "varies", whose text depends on what the model has
learnt, only the kinds of its outputs are compared.
"""

import argparse
import functools
import os
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from course import trained_model
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

FOLDER = Path(__file__).parent
NUMBER = r"-?\d+\.?\d*(?:e[+-]?\d+)?"
CORES = os.cpu_count() or 1
AT_ONCE = min(2, CORES)  # lessons that run side by side
MAX_CELLS, MAX_SECONDS, MAX_BYTES = 25, 120, 1_000_000


def execute(path: Path) -> tuple[NotebookNode, float]:
    """The notebook with fresh outputs, and the seconds it took. Raises CellExecutionError where a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    begun = time.monotonic()
    client = NotebookClient(notebook, timeout=2 * MAX_SECONDS, resources={"metadata": {"path": str(FOLDER)}})
    client.execute(env={**os.environ, "OMP_NUM_THREADS": str(max(1, CORES // AT_ONCE))})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day, which change with every run
        if cell.cell_type == "code":
            cell.outputs = merged(cell.outputs)
    return notebook, time.monotonic() - begun


def merged(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Printed text arrives in arbitrary pieces: neighbouring ones are joined."""
    result: list[NotebookNode] = []
    for output in outputs:
        if result and output.output_type == "stream" == result[-1].output_type and output.name == result[-1].name:
            result[-1].text += output.text
        else:
            result.append(output)
    return result


def stale(committed: NotebookNode, fresh: NotebookNode) -> Iterator[str]:
    """The differences, one line each."""
    pairs = zip(committed.cells, fresh.cells, strict=True)
    for number, (old, new) in enumerate(pairs, start=1):
        if old.cell_type != "code":
            continue
        varies = "varies" in old.metadata.get("tags", [])
        before, after = ([summary(output, varies) for output in cell.outputs] for cell in (old, new))
        if before != after:
            yield f"cell {number}: {before} is now {after}"


def summary(output: NotebookNode, kind_only: bool) -> tuple[str, ...]:
    """An output without what may differ: its kind, and its text with # for numbers with a decimal point."""
    kinds = sorted(output.get("data", {"text/plain": ""}))
    if kind_only or any(kind.startswith("image/") for kind in kinds):
        return (output.output_type, *kinds)
    text = output.get("text") or output.data["text/plain"]
    text = re.sub(rf"{NUMBER} to {NUMBER}", "# to #", text)  # a range as `describe` prints it: 20.5 may become 20
    return (output.output_type, re.sub(r" *-?\d+\.\d*(e[+-]?\d+)?%?", " #", text))


def limits(notebook: NotebookNode) -> Iterator[str]:
    """The limits that a lesson which can be read in one sitting must not exceed."""
    size = len(nbformat.writes(notebook))
    for what, value, most in (("cells", len(notebook.cells), MAX_CELLS), ("bytes", size, MAX_BYTES)):
        if value > most:
            yield f"{value:.0f} {what}, more than {most}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="beginnings of names, such as 03 (default: all)")
    parser.add_argument("--write", action="store_true", help="keep the new outputs instead of comparing")
    args = parser.parse_args()
    begun = time.monotonic()
    trained_model()
    print(f"the model of the lessons: {time.monotonic() - begun:.0f} s", flush=True)
    paths = [path for path in sorted(FOLDER.glob("*.ipynb")) if path.name.startswith(tuple(args.names or [""]))]
    paths.sort(key=lambda path: "training" not in path.name)  # as long as all others together: they run beside it
    with ThreadPoolExecutor(AT_ONCE) as pool:
        are_good = list(pool.map(functools.partial(check, write=args.write), paths))
    return 0 if all(are_good) else 1


def check(path: Path, write: bool) -> bool:
    """Run one lesson and print a line about it. write: keep its outputs. Returns whether it is good."""
    try:
        fresh, seconds = execute(path)
    except CellExecutionError as error:
        print(f"{path.name:34s} {error}", flush=True)
        return False
    problems = list(limits(fresh))
    if write:
        nbformat.write(fresh, path)
    else:
        problems += stale(nbformat.read(path, as_version=4), fresh)
    # Only a remark: on a machine that is busy with something else any lesson may take longer.
    slow = f" (more than {MAX_SECONDS} s)" if seconds > MAX_SECONDS else ""
    line = f"{path.name:34s} {len(fresh.cells)} cells {seconds:5.0f} s{slow}  {'; '.join(problems) or 'ok'}"
    print(line, flush=True)
    return not problems


if __name__ == "__main__":
    sys.exit(main())
