"""HTML from parts: every text is escaped here, so that no label value becomes markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
@page { size: A4; margin: 14mm; }
* { box-sizing: border-box; }
body { font: 13px/1.45 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; color: #1a1a1a;
  max-width: 210mm; margin: 8mm auto; padding: 0 4mm; }
h1 { font-size: 24px; margin: 0 0 2px; }
h2 { font-size: 16px; margin: 26px 0 6px; border-bottom: 1px solid #bbb; padding-bottom: 2px; }
h3 { font-size: 13px; margin: 14px 0 4px; }
p { margin: 4px 0; }
.quiet { color: #555; }
.warn { border-left: 4px solid #b3261e; background: #fbeceb; padding: 6px 10px; margin: 8px 0; }
.facts { display: flex; gap: 10px; margin: 12px 0; }
.facts div { flex: 1; border: 1px solid #ccc; border-radius: 4px; padding: 6px 9px; }
.facts b { display: block; font-size: 18px; white-space: nowrap; }
table { border-collapse: collapse; width: 100%; margin: 4px 0 8px; }
th, td { padding: 3px 6px; text-align: left; vertical-align: top; }
th { border-bottom: 1px solid #888; font-weight: 600; vertical-align: bottom; }
td { border-bottom: 1px solid #e6e6e6; max-width: 90mm; overflow-wrap: break-word; }
td:first-child { min-width: 20mm; }
.n { text-align: right; font-variant-numeric: tabular-nums; } td.n { white-space: nowrap; }
tr.total td { border-top: 1px solid #888; border-bottom: none; font-weight: 600; }
svg.chart { width: 100%; height: auto; } svg text { font-size: 11px; fill: #444; }
svg.share, svg.budget { vertical-align: middle; }
.legend { margin: 2px 0 6px; } .key { margin-right: 14px; white-space: nowrap; }
@media print {
  body { margin: 0; padding: 0; max-width: none; font-size: 11px; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  h2, h3 { break-after: avoid; } table, tr, svg, .facts, .warn, .keep { break-inside: avoid; }
  thead { display: table-header-group; }
}
"""


class Markup(str):
    """Text that is HTML already."""


def html(text: object) -> str:
    return text if isinstance(text, Markup) else escape(str(text))


def paragraph(text: object, kind: str = "") -> str:
    of_kind = f' class="{kind}"' if kind else ""
    return f"<p{of_kind}>{html(text)}</p>"


def table(
    header: Sequence[str], rows: Iterable[Sequence[object]], *, words: int = 1, total: bool = False
) -> str:
    """Return a table whose first `words` columns are text, and whose last row may be a total."""

    def line(cells: Sequence[object], tag: str, kind: str = "") -> str:
        inner = "".join(
            f"<{tag}{' class=n' if index >= words else ''}>{html(cell)}</{tag}>"
            for index, cell in enumerate(cells)
        )
        return f"<tr{kind}>{inner}</tr>"

    listed = list(rows)
    last = len(listed) - 1
    body = "".join(
        line(cells, "td", ' class="total"' if total and index == last else "")
        for index, cells in enumerate(listed)
    )
    return f"<table><thead>{line(header, 'th')}</thead><tbody>{body}</tbody></table>"


def facts(pairs: Iterable[tuple[str, str, str]]) -> str:
    """Return the figures that a reader looks for first: name, value, what it is compared with."""
    inner = "".join(
        f'<div>{html(name)}<b>{html(value)}</b><span class="quiet">{html(more)}</span></div>'
        for name, value, more in pairs
    )
    return f'<div class="facts">{inner}</div>'


def document(title: str, parts: Iterable[str]) -> str:
    """Return a page that loads nothing, and may not."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )
