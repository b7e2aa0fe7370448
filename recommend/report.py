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

COLOURS = ("#3b82f6", "#e8790c", "#16a34a", "#d1478c", "#8b6fd6", "#0e9aa7")
"""Readable on white and on black alike."""
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
class Section:
    """Figures of one kind, with what has to be known to read them."""

    title: str
    kind: str
    """One of `KINDS`."""
    note: str = ""
    """What was measured on what; one or two sentences."""
    rows: Sequence[Mapping[str, Value]] = ()
    """A table; its columns are the keys in order of appearance."""
    plots: Sequence[Bars | Lines] = field(default_factory=tuple)

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


def _plot(plot: Bars | Lines) -> str:
    return _bars(plot) if isinstance(plot, Bars) else _lines(plot)


def _bars(plot: Bars) -> str:
    """A bar a figure, from zero on; a whisker over it where it is an interval."""
    known = {name: one if isinstance(one, Interval) else _exact(one) for name, one in plot.values.items()}
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
    xs = [x for curve in points.values() for x, _ in curve] or [0.0]
    ys = [y for curve in points.values() for _, y in curve] or [0.0]
    left, right, top, bottom = 70.0, 670.0, 14.0, 240.0

    def at(x: float, y: float) -> str:
        across = left + (right - left) * (x - min(xs)) / ((max(xs) - min(xs)) or 1)
        up = bottom - (bottom - top) * (y - min(ys)) / ((max(ys) - min(ys)) or 1)
        return f"{across:.1f},{up:.1f}"

    parts = [
        f'<path class="axis" fill="none" d="M{left:g} {top:g}V{bottom:g}H{right:g}"/>',
        f'<text x="{left - 6:g}" y="{bottom:g}" text-anchor="end">{_number(min(ys))}</text>',
        f'<text x="{left - 6:g}" y="{top + 8:g}" text-anchor="end">{_number(max(ys))}</text>',
        f'<text x="{left:g}" y="{bottom + 16:g}">{_number(min(xs))}</text>',
        f'<text x="{right:g}" y="{bottom + 16:g}" text-anchor="end">{_number(max(xs))}</text>',
        f'<text x="{(left + right) / 2:g}" y="{bottom + 16:g}" text-anchor="middle">{_clipped(plot.across)}</text>',
        f'<text x="{left + 6:g}" y="{top:g}">{_clipped(plot.up)}</text>',
    ]
    for place, (name, curve) in enumerate(points.items()):
        colour, y = COLOURS[place % len(COLOURS)], bottom + 36 + 18 * place
        drawn = " ".join(at(*point) for point in curve)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(
            f'<line x1="{left:g}" x2="{left + 22:g}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" stroke-width="3"/>'
        )
        parts.append(f'<text x="{left + 30:g}" y="{y}">{_clipped(name)}</text>')
    return _drawn(700, bottom + 44 + 18 * len(points), plot.title, "".join(parts))


def _exact(value: float) -> Interval:
    return Interval(value=value, low=value, high=value, rounds=0)
