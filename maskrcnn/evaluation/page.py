"""The report as one HTML page: for a screen of 360 pixels, a wide one and paper, without a network and without scripts."""

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from maskrcnn.evaluation.tables import Cell, Table

STYLE = """
body { font: 1rem/1.45 system-ui, sans-serif; color: #1b1b1f; max-width: 62rem; margin: 0 auto; padding: 0.5rem 1rem 3rem }
h1 { font-size: 1.5rem; margin: 0.8rem 0 0.2rem } h2 { font-size: 1.15rem; margin: 2rem 0 0.3rem }
h2::first-letter { text-transform: uppercase }
p { margin: 0.3rem 0; max-width: 46rem } .run, .reading { color: #55555f }
h1, .run, .notes, .failures td, tbody th { overflow-wrap: anywhere }
.warning { border-left: 0.3rem solid #d55e00; background: #fff3ea; padding: 0.5rem 0.8rem; margin: 0.8rem 0 }
.notes { white-space: pre-wrap; font: 0.8rem/1.4 ui-monospace, monospace; background: #f4f4f6; padding: 0.8rem }
.wide { overflow-x: auto; max-width: 100% }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; margin: 0.5rem 0 }
td, th { text-align: right; vertical-align: top; padding: 0.25rem 0.6rem; border-bottom: 1px solid #dcdce2 }
td, thead th { min-width: 3.2rem } th { font-weight: 600 }
th:first-child { text-align: left; padding-left: 0; min-width: 6rem }
td small { display: block; color: #55555f; white-space: nowrap }
.failures td, .failures th { text-align: left; padding-left: 0 }
.failures td:nth-child(2) { min-width: 9rem } .failures { font-size: 0.8rem }
img { max-width: 100%; height: auto } .gallery img { max-width: none }
.half { display: inline-block; vertical-align: top; width: 29.5rem; max-width: 100%; margin-right: 1rem }
@media (max-width: 30rem) {
  body { padding: 0.3rem 0.6rem 2rem } table { font-size: 0.78rem } td, th { padding: 0.2rem 0.3rem }
  td, thead th { min-width: 2.4rem } th:first-child { min-width: 5.4rem } thead th { font-size: 0.72rem }
  td small { font-size: 0.66rem; white-space: normal }
}
@media print {
  @page { size: A4; margin: 14mm }
  html { font-size: 9.5pt } body { max-width: none; padding: 0 } .wide { overflow: visible } .gallery img { max-width: 100% }
  .half { width: 47%; margin-right: 2% } h2 { margin-top: 1.2rem } td, th { padding: 0.12rem 0.6rem }
  section { break-inside: avoid } section.long { break-inside: auto } h2, .reading { break-after: avoid }
  tr, img { break-inside: avoid } thead { display: table-header-group } img { max-height: 240mm }
}
"""


class Picture(NamedTuple):
    """A picture, and how to read it."""

    png: bytes
    reading: str
    is_small: bool = False  # two of them fit side by side
    is_gallery: bool = False  # of cells, as large as they are: on a narrow screen one scrolls


def page(
    title: str,
    headline: str,
    notes: str,
    tables: Sequence[Table],
    remarks: Sequence[str],
    failures: Sequence[Mapping[str, Any]],
    pictures: Mapping[str, Picture],
) -> str:
    """headline, title: of the page, in this order; notes: text, of which lines that begin with "warning:" come first;
    remarks: what holds for the tables; failures: rows of a table.
    """
    lines = notes.splitlines()
    warnings = [line for line in lines if line.startswith("warning:")]
    rest = "\n".join(line for line in lines if line not in warnings).strip("\n")
    parts = [f"<h1>{_text(headline)}</h1>", f'<p class="run">{_text(title)}</p>']
    parts += [f'<p class="warning">{_text(warning)}</p>' for warning in warnings]
    parts += [_section(table) for table in tables[:1]]
    parts += [f"<section>{''.join(f'<p>{_text(remark)}</p>' for remark in remarks)}</section>"]
    parts += [_section(table) for table in tables[1:]]
    parts += [_picture(name, picture) for name, picture in pictures.items()]
    parts += [_failures(failures)] if failures else []
    parts += [f'<section class="long"><h2>data</h2><div class="notes">{_text(rest)}</div></section>'] if rest else []
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{_text(title)}</title><style>{STYLE}</style>"
    body = "\n".join(parts)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _text(value: object) -> str:
    """Whatever it says, it is text, and not HTML."""
    return html.escape(str(value), quote=True)


def _section(table: Table) -> str:
    head = "".join(f'<th scope="col">{_text(column)}</th>' for column in table.columns)
    rows = "".join(
        f'<tr><th scope="row">{_text(name)}</th>{"".join(map(_cell, cells))}</tr>\n' for name, cells in table.rows
    )
    return (
        f'<section><h2>{_text(table.title)}</h2>\n<p class="reading">{_text(table.reading)}</p>\n'
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table></div></section>'
    )


def _cell(cell: Cell) -> str:
    interval = _text(cell.interval).replace(" to ", "&nbsp;to ")  # on a narrow screen each end has a line
    interval = f"<small>{interval}</small>" if interval else ""
    return f"<td>{_text(cell.value)}{interval}</td>"


def _picture(name: str, picture: Picture) -> str:
    encoded = base64.b64encode(picture.png).decode("ascii")
    place = ' class="half"' if picture.is_small else ""
    scrolls = " gallery" if picture.is_gallery else ""
    return (
        f'<section{place}><h2>{_text(name)}</h2>\n<p class="reading">{_text(picture.reading)}</p>\n'
        f'<div class="wide{scrolls}"><img alt="{_text(name)}" src="data:image/png;base64,{encoded}"></div></section>'
    )


def _failures(failures: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in failures[0])
    rows = []
    for failure in failures:
        values = {**failure, "box": ", ".join(f"{x:g}" for x in failure["box"])}
        rows.append("<tr>" + "".join(f"<td>{_text(value)}</td>" for value in values.values()) + "</tr>")
    body = "\n".join(rows)
    return (
        '<section class="long"><h2>all failures</h2>\n<p class="reading">Sorted by their cause; the box is x1, y1, x2, y2, '
        f'in pixels of the image.</p>\n<div class="wide"><table class="failures"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div></section>"
    )
