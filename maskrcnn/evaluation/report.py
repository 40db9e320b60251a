"""An evaluation as files: tables, JSON, pictures, and one HTML page with all of them that opens without a network."""

import io
import json
import re
import textwrap
from pathlib import Path

from matplotlib.figure import Figure

from maskrcnn.evaluation.evaluate import Evaluation
from maskrcnn.evaluation.failures import KINDS
from maskrcnn.evaluation.page import Picture, page
from maskrcnn.evaluation.plots import LEGEND, Samples, curve_figures, galleries
from maskrcnn.evaluation.tables import Table, remarks, summary, tables
from maskrcnn.inference.colours import ColourRange, colour_figure

WIDTH = 120  # columns of the text
NAME_WIDTH = 24  # of a row; a longer name has a line of its own
# Title of a picture -> how to read it.
READINGS = {
    "precision and recall": "Masks at IoU 0.5, a curve for each class (dashed: at IoU 0.75, where that differs). Each goes "
    "down the detections by falling score; the further it stays at the top and right, the better.",
    "precision and recall, class-agnostic": "The same with all classes as one: how well cells are found, whatever their "
    "names; the band is the interval.",
    "confusion matrix": "Each row is a true class, each column what its cells were taken for; what is right is on the "
    "diagonal. The last column has the cells that no detection matches, the last row detections that match no cell. Small: "
    "intervals.",
    "calibration": "Of the detections of each tenth of the score (their number is beside the point), the fraction that is "
    "right, with exact intervals. On the diagonal a score is the probability of being right.",
    "colours": "Dark, middle and bright colours of the training images (dots) and of these images (squares): where they are "
    "far apart the model sees what it has not learned.",
    **{f"{name} masks": f"Cells with the {name} IoU ({LEGEND})." for name in ("best", "median", "worst")},
    **dict.fromkeys(KINDS, f"Failures of this kind ({LEGEND})."),
}


def write_report(
    result: Evaluation,
    samples: Samples,
    folder: Path,
    title: str,
    notes: str = "",
    known_colours: ColourRange | None = None,
) -> Path:
    """Write evaluation.txt, evaluation.json, evaluation-*.png and report.html. Returns the path of report.html.

    samples: the images and targets that were evaluated, in the same order. notes: text, such as a description of the data;
    lines that begin with "warning:" come first on the page. known_colours: those that the model was trained on, to compare
    the images with. The folder is made if needed; pictures of an earlier evaluation in it are deleted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.txt").write_text(format_table(result) + "\n", encoding="utf-8")
    (folder / "evaluation.json").write_text(json.dumps(result.to_dict(), indent=2) + "\n", encoding="utf-8")
    curves = curve_figures(result)
    shown = galleries(result, samples)
    figures = {**curves, **shown}
    if known_colours:
        quantiles = ColourRange.of(samples[i][0] for i in range(len(result.matches))).quantiles
        notes = "\n\n".join(filter(None, (known_colours.warning(quantiles), notes)))
        figures["colours"] = colour_figure(known_colours, quantiles)
    pictures = {
        name: Picture(png(figure), READINGS[name], name in curves, name in shown) for name, figure in figures.items()
    }
    for old in folder.glob("evaluation-*.png"):  # they may show kinds of failure that no longer occur
        old.unlink()
    for name, picture in pictures.items():
        slug = re.sub("[^a-z]+", "-", name)
        (folder / f"evaluation-{slug}.png").write_bytes(picture.png)
    said = [f"{summary(result)}.", *remarks(result)]
    text = page(title, str(result.counts()), notes, tables(result), said, result.failure_rows(), pictures)
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


def format_table(result: Evaluation) -> str:
    """All figures as text, at most WIDTH columns wide."""
    lines = [str(result.counts()), summary(result)]
    for remark in remarks(result):
        lines += textwrap.wrap(remark, WIDTH)
    for table in tables(result):
        lines += ["", *_format(table)]
    counts = [f"{count} {kind}" for kind, count in result.failure_counts().items() if count]
    return "\n".join([*lines, "", *textwrap.wrap("failures: " + (", ".join(counts) or "none"), WIDTH)])


def _format(table: Table) -> list[str]:
    """Its title, the names of its columns, and a line for each row."""
    first = min(NAME_WIDTH, 2 + max(len(name) for name, _ in table.rows))
    widths = [
        2 + max(len(column), *(len(str(cells[k])) for _, cells in table.rows))
        for k, column in enumerate(table.columns[1:])
    ]
    head = "".join(f"{column:>{width}s}" for column, width in zip(table.columns[1:], widths, strict=True))
    lines = [table.title, " " * first + head]
    for name, cells in table.rows:
        if len(name) > first - 2:
            lines += textwrap.wrap(name, WIDTH)
            name = ""
        values = "".join(f"{cell!s:>{width}s}" for cell, width in zip(cells, widths, strict=True))
        lines.append(f"{name:{first}s}{values}")
    return lines


def png(figure: Figure) -> bytes:
    """The figure as the content of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100, format="png")
    return buffer.getvalue()
