"""The report's pictures, as SVG text. Plain shapes, so that they print as they look."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from html import escape

# Okabe and Ito's palette, which colour-blind readers can tell apart; yellow is too pale for paper.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
REST_COLOUR = "#8a8a8a"
WARN, GRID = "#b3261e", "#dddddd"
REST = "others"

WIDTH, LEFT, BOTTOM, TOP = 700, 62, 22, 8
Row = tuple[str, Mapping[str, Decimal]]


def colours(names: Sequence[str]) -> dict[str, str]:
    """Give each series its colour; those after the palette's end share one."""
    return {
        name: COLOURS[index] if index < len(COLOURS) else REST_COLOUR
        for index, name in enumerate(names)
    }


def stacked_bars(
    rows: Sequence[Row], names: Sequence[str], *, title: str, height: int = 200, every: int = 1
) -> str:
    """Draw a bar a row, stacked in the order of `names`.

    Args:
        rows: label, and amount by name; names that are missing are 0.
        every: which of the labels are written: each one, each second one, and so on.
    """
    top = max((float(sum(amounts.values(), Decimal(0))) for _, amounts in rows), default=0.0)
    scale = _Scale(top, height)
    step = (WIDTH - LEFT) / max(1, len(rows))
    by_name = colours(names)
    shapes = [*scale.grid()]
    for index, (label, amounts) in enumerate(rows):
        x, y = LEFT + step * index + step * 0.15, float(height - BOTTOM)
        for name in names:
            amount = float(amounts.get(name, 0))
            tall = scale.length(amount)
            if tall <= 0:
                continue
            y -= tall
            hint = f"{label} {name}: {amount:,.2f}"
            shapes.append(_rect(x, y, step * 0.7, tall, by_name[name], hint))
        if index % every == 0:
            middle = LEFT + step * (index + 0.5)
            shapes.append(_text(middle, height - 6, label, "middle"))
    return _svg(WIDTH, height, title, shapes)


def legend(names: Sequence[str]) -> str:
    items = "".join(
        f'<span class="key"><svg width="10" height="10" aria-hidden="true">'
        f'<rect width="10" height="10" fill="{colour}"/></svg> {escape(name)}</span>'
        for name, colour in colours(names).items()
    )
    return f'<p class="legend">{items}</p>'


def share_bar(share: float) -> str:
    """Draw a share of 1 as a small bar."""
    part = min(1.0, max(0.0, share))
    return (
        '<svg class="share" width="50" height="9" aria-hidden="true">'
        f'<rect width="50" height="9" fill="{GRID}"/>'
        f'<rect width="{50 * part:.1f}" height="9" fill="{COLOURS[0]}"/></svg>'
    )


def budget_bar(used: float, bounds: tuple[float, float] | None, limit: float) -> str:
    """Draw what is used, the forecast's bounds as a whisker, and the limit as a line."""
    wide, tall = 150, 18
    end = max(used, *(bounds or ()), limit) * 1.05 or 1.0

    def at(value: float) -> float:
        return wide * value / end

    colour = WARN if used >= limit else COLOURS[0]
    shapes = [_rect(0, 4, at(used), 10, colour, f"used: {used:,.2f}")]
    if bounds:
        low, high = bounds
        hint = f"forecast: {low:,.2f} to {high:,.2f}"
        shapes.append(
            f'<path d="M{at(low):.1f} 9H{at(high):.1f}M{at(low):.1f} 5v8M{at(high):.1f} 5v8" '
            f'stroke="#333" fill="none"><title>{escape(hint)}</title></path>'
        )
    shapes.append(
        f'<path d="M{at(limit):.1f} 0v18" stroke="{WARN}" stroke-width="2">'
        f"<title>limit: {limit:,.2f}</title></path>"
    )
    return _svg(wide, tall, "budget", shapes, "budget")


class _Scale:
    """The money axis: from 0 to a round number above the highest bar."""

    def __init__(self, top: float, height: int) -> None:
        self._height = height
        self._step = _round_step(top / 4)
        self._end = max(self._step, math.ceil(top / self._step - 1e-9) * self._step)

    def length(self, value: float) -> float:
        return value / self._end * (self._height - BOTTOM - TOP)

    def grid(self) -> Iterator[str]:
        for number in range(round(self._end / self._step) + 1):
            value = number * self._step
            y = self._height - BOTTOM - self.length(value)
            yield f'<path d="M{LEFT} {y:.1f}H{WIDTH}" stroke="{GRID}"/>'
            yield _text(LEFT - 5, y + 4, f"{value:,.{self._digits()}f}", "end")

    def _digits(self) -> int:
        return max(0, -math.floor(math.log10(self._step)))


def _round_step(about: float) -> float:
    """Return 1, 2 or 5 times a power of ten, at least `about`."""
    if about <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(about))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= about * 0.999)


def _rect(x: float, y: float, width: float, height: float, colour: str, hint: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.2f}" width="{width:.1f}" height="{height:.2f}" '
        f'fill="{colour}"><title>{escape(hint)}</title></rect>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(width: int, height: int, title: str, shapes: Sequence[str], kind: str = "chart") -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(title)}">{"".join(shapes)}</svg>'
    )
