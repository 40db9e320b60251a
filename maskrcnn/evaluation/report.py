"""An evaluation as files: a table, JSON, pictures, and one HTML page that holds them all and opens without a network."""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from maskrcnn.evaluation.charts import Samples, curves_figure, galleries
from maskrcnn.evaluation.evaluate import Evaluation, table

STYLE = """body { font-family: sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em; color: #222 }
img { max-width: 100% } pre { background: #f4f4f6; padding: 1em; overflow-x: auto } h2 { margin-top: 2em }
td, th { text-align: left; padding: 0.1em 1em 0.1em 0 }"""
LEGEND = (
    "Green: ground truth. Pink: detections. In the confusion matrix each cell that no detection matches (IoU 0.5) is missed,"
    " and for every detection that matches no cell nothing is there; the failures below tell by their kind what happened."
)


def write_report(result: Evaluation, samples: Samples, folder: Path, title: str, notes: str = "") -> Path:
    """Writes evaluation.txt, evaluation.json, evaluation-*.png and report.html, whose path is returned.

    samples: the images and targets that were evaluated, in their order. notes: text to stand above the tables, such as what
    the data are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = table(result)
    (folder / "evaluation.txt").write_text(text + "\n", encoding="utf-8")
    (folder / "evaluation.json").write_text(json.dumps(result.to_dict(), indent=2) + "\n", encoding="utf-8")
    for old in folder.glob("evaluation-*.png"):  # of another model, perhaps, which failed in other ways
        old.unlink()
    figures = {"curves": curves_figure(result), **galleries(result, samples)}
    pictures = {}
    for name, figure in figures.items():
        pictures[name] = png(figure)
        (folder / f"evaluation-{name.replace(' ', '-')}.png").write_bytes(pictures[name])
    path = folder / "report.html"
    path.write_text(page(title, notes, text, result.failure_rows(), pictures), encoding="utf-8")
    return path


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=75, format="png")
    return buffer.getvalue()


def page(
    title: str, notes: str, text: str, failures: Sequence[Mapping[str, Any]], pictures: Mapping[str, bytes]
) -> str:
    """Self-contained HTML: the pictures are written into it. failures: rows of a table."""
    parts = [f"<h1>{html.escape(title)}</h1>"]
    parts += [f"<pre>{html.escape(notes)}</pre>"] if notes else []
    parts += [f"<pre>{html.escape(text)}</pre>", f"<p>{LEGEND}</p>"]
    for name, picture in pictures.items():
        encoded = base64.b64encode(picture).decode("ascii")
        alt = html.escape(name, quote=True)
        parts.append(f'<h2>{alt}</h2>\n<img alt="{alt}" src="data:image/png;base64,{encoded}">')
    if failures:
        parts.append(f"<h2>every failure</h2>\n<table><tr>{''.join(f'<th>{name}</th>' for name in failures[0])}</tr>")
        for row in failures:
            parts.append("<tr>" + "".join(f"<td>{html.escape(str(value))}</td>" for value in row.values()) + "</tr>")
        parts.append("</table>")
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    body = "\n".join(parts)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'
