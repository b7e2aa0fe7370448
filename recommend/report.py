"""The report: one HTML file that says how good the feed is, and of every figure what kind of figure it is.

A figure from a time split, an off-policy estimate and a simulation are three different things, and a reader who cannot
tell them apart will believe the wrong one. So each section names its kind beside its title, and none can be made
without. The file asks nothing of any other place: styles and plots (SVG) are inside it. The plots are drawn here, in
the page's own ink, so that they are read by day and by night, and names in them are escaped as everywhere else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from recommend.evaluate import Interval

KINDS = {
    "time_split": "offline, time split",
    "off_policy": "off-policy estimate",
    "simulated": "simulated",
    "log": "counted in the log",
}
"""What a figure may be; the words that the reader sees."""

Value = float | int | str | Interval | None

COLOURS = ("#3b82f6", "#e8790c", "#16a34a", "#d1478c", "#8b6fd6", "#0e9aa7", "#b58a00", "#dc4a4a")
"""Readable on white and on black alike."""
LEFT, RIGHT, TOP, BOTTOM = 70.0, 670.0, 14.0, 240.0
"""Where the axes of lines and points are."""
NAME_LETTERS = 40
"""Longer names are cut in plots; tables have them whole."""
STYLE = """
:root{color-scheme:light dark;--edge:#8886}
body{font:15px/1.5 system-ui,sans-serif;margin:0;background:Canvas;color:CanvasText}
main{max-width:60rem;margin:0 auto;padding:1.5rem}
h2{margin-top:2.2rem;border-top:1px solid var(--edge);padding-top:1rem}
.kind{font-size:.75rem;font-weight:600;border:1px solid currentColor;border-radius:1rem;padding:.1rem .6rem;
white-space:nowrap;vertical-align:middle}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem}dd{margin:0;overflow-wrap:anywhere}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.25rem .8rem .25rem 0;border-bottom:1px solid var(--edge);overflow-wrap:anywhere}
.interval{opacity:.75;white-space:nowrap}figure{margin:1.2rem 0}svg{width:100%;height:auto;max-width:44rem}
svg text{fill:currentColor;font:12px system-ui,sans-serif}svg .axis{stroke:currentColor;opacity:.5}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Figures side by side, with whiskers where they are intervals."""

    title: str
    unit: str
    values: Mapping[str, float | Interval]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Curves over one axis."""

    title: str
    across: str
    up: str
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    """Name -> (x, y), as many of each."""

    def __post_init__(self) -> None:
        for name, (x, y) in self.curves.items():
            if len(x) != len(y):
                raise ValueError(f"{name}: a y for every x wanted, got {len(x)} and {len(y)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """What each of several things pays and gets: a point each, with whiskers both ways where they are intervals."""

    title: str
    across: str
    up: str
    values: Mapping[str, tuple[float | Interval, float | Interval]]
    """Name -> (x, y)."""


Plot = Bars | Lines | Points


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Figures of one kind, with what has to be known to read them."""

    title: str
    kind: str
    """One of `KINDS`."""
    note: str = ""
    """What was measured on what; one or two sentences."""
    rows: Sequence[Mapping[str, Value]] = ()
    """A table; its columns are the keys in order of appearance."""
    plots: Sequence[Plot] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a figure is one of {', '.join(KINDS)}; got {self.kind!r}")


def html(title: str, sections: Sequence[Section], facts: Mapping[str, Value], *, now_s: float) -> str:
    """Return the whole report, one HTML document.

    Args:
        facts: what the figures depend on: versions, seeds, rows, times.
        now_s: seconds since 1970, UTC; printed.
    """
    made = datetime.fromtimestamp(now_s, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
    known = "".join(f"<dt>{_text(name)}</dt><dd>{_value(value)}</dd>" for name, value in facts.items())
    body = "".join(_section(one) for one in sections)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><main><h1>{_text(title)}</h1><p>{made}</p><dl>{known}</dl>{body}</main></body></html>\n"
    )


def write(
    file: Path,
    sections: Sequence[Section],
    facts: Mapping[str, Value],
    now_s: float,
    title: str = "What the feed is worth",
) -> None:
    """Write the report to a file."""
    file.write_text(html(title, sections, facts, now_s=now_s), encoding="utf-8")


def _section(section: Section) -> str:
    note = f"<p>{_text(section.note)}</p>" if section.note else ""
    kind = KINDS[section.kind]
    plots = "".join(
        f'<figure>{_plot(one)}<figcaption>{_text(one.title)} <span class="kind">{kind}</span></figcaption></figure>'
        for one in section.plots
    )
    return (
        f'<section><h2>{_text(section.title)} <span class="kind">{kind}</span></h2>{note}'
        f"{_table(section.rows)}{plots}</section>"
    )


def _table(rows: Sequence[Mapping[str, Value]]) -> str:
    if not rows:
        return ""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{_value(row[name]) if name in row else ''}</td>" for name in columns) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _value(value: Value) -> str:
    if isinstance(value, Interval):
        return f'{_number(value.value)} <span class="interval">[{_number(value.low)}, {_number(value.high)}]</span>'
    if isinstance(value, str):
        return _text(value)
    return "–" if value is None else _number(value)


def _number(value: float) -> str:
    """
    >>> _number(1234567), _number(0.123456), _number(float("nan")), _number(2)
    ('1,234,567', '0.1235', '–', '2')
    """
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "∞" if value > 0 else "−∞"
    return f"{value:,.4g}" if abs(value) < 1e6 else f"{value:,.0f}"


def _text(text: str) -> str:
    """Escaped, and without the control characters that no document may hold."""
    return escape("".join(letter if letter.isprintable() else "\ufffd" for letter in text), quote=True)


def _clipped(name: str) -> str:
    return _text(name if len(name) <= NAME_LETTERS else name[: NAME_LETTERS - 1] + "…")


def _drawn(width: float, height: float, title: str, inside: str) -> str:
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{_text(title)}">{inside}</svg>'


def _plot(plot: Plot) -> str:
    if isinstance(plot, Bars):
        return _bars(plot)
    return _lines(plot) if isinstance(plot, Lines) else _points(plot)


def _bars(plot: Bars) -> str:
    """A bar a figure, from zero on; a whisker over it where it is an interval."""
    known = {name: _exact(one) for name, one in plot.values.items()}
    ends = [end for one in known.values() for end in (one.value, one.low, one.high) if math.isfinite(end)]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    left, right, step = 270.0, 600.0, 26.0

    def across(value: float) -> float:
        return left + (right - left) * (value - low) / ((high - low) or 1)

    parts = []
    for place, (name, one) in enumerate(known.items()):
        y = 8 + step * place
        parts.append(f'<text x="{left - 8:g}" y="{y + 13:g}" text-anchor="end">{_clipped(name)}</text>')
        if not math.isfinite(one.value):
            parts.append(f'<text x="{left + 4:g}" y="{y + 13:g}">–</text>')
            continue
        start, end = sorted((across(0), across(one.value)))
        parts.append(f'<rect x="{start:.1f}" y="{y:g}" width="{end - start:.1f}" height="18" fill="{COLOURS[0]}"/>')
        if math.isfinite(one.low) and one.low < one.high:
            whisker = f'x1="{across(one.low):.1f}" x2="{across(one.high):.1f}" y1="{y + 9:g}" y2="{y + 9:g}"'
            parts.append(f'<line {whisker} stroke="{COLOURS[1]}" stroke-width="3"/>')
        beside = max(end, across(one.high) if math.isfinite(one.high) else end)
        parts.append(f'<text x="{beside + 6:.1f}" y="{y + 13:g}">{_number(one.value)}</text>')
    bottom = 8 + step * len(known)
    parts.append(f'<line class="axis" x1="{across(0):.1f}" x2="{across(0):.1f}" y1="2" y2="{bottom:g}"/>')
    parts.append(f'<text x="{left:g}" y="{bottom + 16:g}">{_clipped(plot.unit)}</text>')
    return _drawn(700, bottom + 24, plot.title, "".join(parts))


def _lines(plot: Lines) -> str:
    """Curves, with the ends of both axes written out; points that are not finite are left out."""
    points = {
        name: [(float(a), float(b)) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
        for name, (x, y) in plot.curves.items()
    }
    axes = _Axes.of([point for curve in points.values() for point in curve])
    parts = [axes.drawn(plot.across, plot.up)]
    for place, (name, curve) in enumerate(points.items()):
        colour = COLOURS[place % len(COLOURS)]
        drawn = " ".join("{:.1f},{:.1f}".format(*axes.at(*point)) for point in curve)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(_key(place, name))
    return _drawn(700, BOTTOM + 44 + 18 * len(points), plot.title, "".join(parts))


def _points(plot: Points) -> str:
    """A point each, with its whiskers; one that is not finite has its name in the key alone."""
    known = {name: (_exact(x), _exact(y)) for name, (x, y) in plot.values.items()}
    ends = [point for x, y in known.values() for point in ((x.low, y.low), (x.high, y.high), (x.value, y.value))]
    axes = _Axes.of([point for point in ends if all(map(math.isfinite, point))])
    parts = [axes.drawn(plot.across, plot.up)]
    for place, (name, (x, y)) in enumerate(known.items()):
        colour = COLOURS[place % len(COLOURS)]
        if all(map(math.isfinite, (x.low, x.value, x.high, y.low, y.value, y.high))):
            (left, bottom), (right, top), (cx, cy) = (
                axes.at(*point) for point in ((x.low, y.low), (x.high, y.high), (x.value, y.value))
            )
            whiskers = f"M{left:.1f} {cy:.1f}H{right:.1f}M{cx:.1f} {bottom:.1f}V{top:.1f}"
            parts.append(f'<path fill="none" d="{whiskers}" stroke="{colour}"/>')
            parts.append(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="5" fill="{colour}"/>')
        parts.append(_key(place, name))
    return _drawn(700, BOTTOM + 44 + 18 * len(known), plot.title, "".join(parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axes:
    """From the least to the largest of both figures."""

    x: tuple[float, float]
    y: tuple[float, float]

    @classmethod
    def of(cls, points: Sequence[tuple[float, float]]) -> _Axes:
        xs, ys = zip(*points, strict=True) if points else ((0.0,), (0.0,))
        return cls(x=(min(xs), max(xs)), y=(min(ys), max(ys)))

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = LEFT + (RIGHT - LEFT) * (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        return across, BOTTOM - (BOTTOM - TOP) * (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)

    def drawn(self, across: str, up: str) -> str:
        """The axes with their ends written out, and their names."""
        return (
            f'<path class="axis" fill="none" d="M{LEFT:g} {TOP:g}V{BOTTOM:g}H{RIGHT:g}"/>'
            f'<text x="{LEFT - 6:g}" y="{BOTTOM:g}" text-anchor="end">{_number(self.y[0])}</text>'
            f'<text x="{LEFT - 6:g}" y="{TOP + 8:g}" text-anchor="end">{_number(self.y[1])}</text>'
            f'<text x="{LEFT:g}" y="{BOTTOM + 16:g}">{_number(self.x[0])}</text>'
            f'<text x="{RIGHT:g}" y="{BOTTOM + 16:g}" text-anchor="end">{_number(self.x[1])}</text>'
            f'<text x="{(LEFT + RIGHT) / 2:g}" y="{BOTTOM + 16:g}" text-anchor="middle">{_clipped(across)}</text>'
            f'<text x="{LEFT + 6:g}" y="{TOP:g}">{_clipped(up)}</text>'
        )


def _key(place: int, name: str) -> str:
    """A name below the plot, beside a stroke of its colour."""
    y, colour = BOTTOM + 36 + 18 * place, COLOURS[place % len(COLOURS)]
    stroke = f'x1="{LEFT:g}" x2="{LEFT + 22:g}" y1="{y - 4:g}" y2="{y - 4:g}" stroke="{colour}" stroke-width="3"'
    return f'<line {stroke}/><text x="{LEFT + 30:g}" y="{y:g}">{_clipped(name)}</text>'


def _exact(value: float | Interval) -> Interval:
    """A figure without an interval as one of no width."""
    return value if isinstance(value, Interval) else Interval(value=value, low=value, high=value, rounds=0)
