"""An evaluation as files: tables, JSON, pictures, and one HTML page with all of them that opens without a network."""

import base64
import html
import io
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from maskrcnn.evaluation.average_precision import CLASS_AGNOSTIC
from maskrcnn.evaluation.bootstrap import Estimate
from maskrcnn.evaluation.evaluate import Evaluation
from maskrcnn.evaluation.plots import Samples, curves_figure, galleries
from maskrcnn.inference.colours import ColourRange, colour_figure

STYLE = """body { font-family: sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em; color: #222 }
img { max-width: 100% } pre { background: #f4f4f6; padding: 1em; overflow-x: auto } h2 { margin-top: 2em }
td, th { text-align: left; padding: 0.1em 1em 0.1em 0 }"""
LEGEND = (
    "Green: ground truth. Pink: predictions. The confusion matrix counts every cell that no detection matches (IoU 0.5) as"
    " missed, and every detection that matches no cell as a false positive. The failures below are sorted by their cause."
)
# Titles of metrics and columns; those that are not listed are their own titles.
TITLES = {
    "ap": "AP", "ap50": "AP50", "ap75": "AP75", "ar": "AR",
    "f1": "F1", "panoptic_quality": "panoptic quality", "iou": "IoU", "dice": "Dice",
    "outline_offset": "outline offset, pixels",
    "calibration_error": "calibration error", "class_agnostic": "class-agnostic", "class_mean": "class mean",
}  # fmt: skip


def write_report(
    result: Evaluation,
    samples: Samples,
    folder: Path,
    title: str,
    notes: str = "",
    known_colours: ColourRange | None = None,
) -> Path:
    """Write evaluation.txt, evaluation.json, evaluation-*.png and report.html. Returns the path of report.html.

    samples: the images and targets that were evaluated, in the same order. notes: text above the tables, such as a
    description of the data. known_colours: those that the model was trained on, to compare the images with. The folder is
    made if needed; pictures of an earlier evaluation in it are deleted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = format_table(result)
    (folder / "evaluation.txt").write_text(text + "\n", encoding="utf-8")
    (folder / "evaluation.json").write_text(json.dumps(result.to_dict(), indent=2) + "\n", encoding="utf-8")
    for old in folder.glob("evaluation-*.png"):  # they may show kinds of failure that no longer occur
        old.unlink()
    figures = {"curves": curves_figure(result), **galleries(result, samples)}
    if known_colours:
        quantiles = ColourRange.of(samples[i][0] for i in range(len(result.matches))).quantiles
        notes = "\n\n".join(filter(None, (notes, known_colours.warning(quantiles))))
        figures["colours"] = colour_figure(known_colours, quantiles)
    pictures = {}
    for name, figure in figures.items():
        pictures[name] = png(figure)
        (folder / f"evaluation-{name.replace(' ', '-')}.png").write_bytes(pictures[name])
    path = folder / "report.html"
    path.write_text(page(title, notes, text, result.failure_rows(), pictures), encoding="utf-8")
    return path


def format_table(result: Evaluation) -> str:
    """All metrics as text: values with their 95 % intervals over images."""
    head = f"{len(result.matches)} images, {int(result.confusion.value[1:].sum())} cells; "
    if len(result.matches) > 1:
        head += (
            "in brackets 95 % intervals over resampled images (classes missing from a sample are left out of its mean)"
        )
    else:
        head += "one image has no intervals"
    ap = {_ap_title(row, result.class_names): estimates for row, estimates in result.ap_intervals.items()}
    cells = {TITLES.get(metric, metric): estimates for metric, estimates in result.cells.items()}
    counts = [f"{count} {kind}" for kind, count in result.failure_counts().items() if count]
    lines = [head, "", *_format_rows(ap, "average precision")]
    lines += ["", *_format_rows(cells, f"cells, score >= {result.score_threshold:g}")]
    if empty := result.empty_images():
        each = f"{sum(empty) / len(empty):.2f} false positives each"
        lines += ["", f"images without a cell: {len(empty)}, with {each} (on {sum(map(bool, empty))} of them)"]
    lines += ["", "failures: " + (", ".join(counts) or "none")]
    return "\n".join(lines)


def _ap_title(row: str, class_names: Collection[str]) -> str:
    """ "mask_class_agnostic_largest_third" -> "mask, class-agnostic, largest third" """
    kind, _, rest = row.partition("_")
    if not rest or rest in class_names:
        return f"{kind}, {rest}" if rest else kind
    area = rest.removeprefix(CLASS_AGNOSTIC).removeprefix("_").replace("_", " ")
    return f"{kind}, class-agnostic" + (f", {area}" if area else "")


def _format_rows(rows: Mapping[str, Mapping[str, Estimate]], title: str) -> list[str]:
    columns = list(next(iter(rows.values())))
    width = max(22, *(len(str(estimate)) + 2 for row in rows.values() for estimate in row.values()))
    first_width = max(24, *(len(name) + 2 for name in rows))
    lines = [f"{title:{first_width}s}" + "".join(f"{TITLES.get(column, column):>{width}s}" for column in columns)]
    for name, row in rows.items():
        lines.append(f"{name:{first_width}s}" + "".join(f"{row[column]!s:>{width}s}" for column in columns))
    return lines


def png(figure: Figure) -> bytes:
    """The figure as the content of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=75, format="png")
    return buffer.getvalue()


def page(
    title: str, notes: str, text: str, failures: Sequence[Mapping[str, Any]], pictures: Mapping[str, bytes]
) -> str:
    """One HTML page with the pictures embedded. text: the tables; failures: rows of a table; pictures: title -> PNG."""
    parts = [f"<h1>{html.escape(title)}</h1>"]
    parts += [f"<pre>{html.escape(notes)}</pre>"] if notes else []
    parts += [f"<pre>{html.escape(text)}</pre>", f"<p>{LEGEND}</p>"]
    for name, picture in pictures.items():
        encoded = base64.b64encode(picture).decode("ascii")
        alt = html.escape(name, quote=True)
        parts.append(f'<h2>{alt}</h2>\n<img alt="{alt}" src="data:image/png;base64,{encoded}">')
    if failures:
        parts.append(f"<h2>all failures</h2>\n<table><tr>{''.join(f'<th>{name}</th>' for name in failures[0])}</tr>")
        for row in failures:
            parts.append("<tr>" + "".join(f"<td>{html.escape(str(value))}</td>" for value in row.values()) + "</tr>")
        parts.append("</table>")
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    body = "\n".join(parts)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'
