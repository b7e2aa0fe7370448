"""The report says of every figure what kind it is, holds all that it shows, and trusts no name in it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from recommend.evaluate import Interval
from recommend.report import KINDS, Bars, Lines, Points, Section, html

HOSTILE = "<script src=//evil.example/x.js></script>\"'&$\\x$ \x00_user"
NOW_S = 1_767_225_600.0


def half(value: float) -> Interval:
    return Interval(value=value, low=value - 0.01, high=value + 0.01, rounds=100)


def report() -> str:
    sections = [
        Section(
            title="Ranking",
            kind="time_split",
            note="Trained before, measured after.",
            rows=[
                {"head": "long_view", "AUC": half(0.7461), "rows": 12345},
                {"head": HOSTILE, "AUC": None, "GAUC": 0.6562},
            ],
            plots=[Bars(title="AUC by head", unit="AUC", values={"long_view": half(0.7461), HOSTILE: 0.5123})],
        ),
        Section(
            title="Other policies",
            kind="off_policy",
            plots=[Bars(title="DRos", unit="clicks", values={"none": float("nan"), "less": -0.25, "more": 0.375})],
        ),
        Section(
            title="Closed loop",
            kind="simulated",
            plots=[
                Lines(title="Regret", across="impressions", up="engagement lost",
                      curves={"ours": ([0, 10, 20], [0, 3, 4.5]), HOSTILE: ([0, 20], [0, float("inf")])}),
                Points(title="Price", across="lost", up="found",
                       values={"ours": (half(0.02), half(0.7)), HOSTILE: (0, 1)}),
            ],
        ),
        Section(title="Exposure", kind="log", rows=[{"Gini": 0.4444}]),
    ]  # fmt: skip
    return html("How good is the feed?", sections, {"seed": 7, "asked by": HOSTILE}, now_s=NOW_S)


class Reader(HTMLParser):
    """What a browser would make of it: elements, attributes, text; and whether everything is closed again."""

    VOID = frozenset({"meta", "rect", "line", "path", "polyline", "circle"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def test_every_section_and_every_plot_says_what_kind_of_figure_it_is() -> None:
    page = report()
    for kind, plots in (("time_split", 1), ("off_policy", 1), ("simulated", 2), ("log", 0)):
        assert page.count(f'<span class="kind">{KINDS[kind]}</span>') == 1 + plots


def test_a_figure_of_no_kind_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="a figure is one of time_split, off_policy, simulated, log; got 'good'"):
        Section(title="x", kind="good")


def test_values_are_in_the_page_with_their_intervals() -> None:
    text = read(report()).text
    for said in (
        "0.7461",
        "[0.7361, 0.7561]",
        "12,345",
        "0.6562",
        "0.5123",
        "-0.25",
        "0.375",
        "0.4444",
        "4.5",
        "2026-01-01",
    ):
        assert said in text, said


def test_the_page_asks_nothing_of_any_other_place() -> None:
    page = report()
    assert not re.search(r"https?:|url\(|@import", page)
    reader = read(page)
    assert not {name for name, _ in reader.attributes} & {"src", "href", "xlink:href", "srcset", "data", "action"}
    assert not set(reader.tags) & {"script", "link", "img", "iframe", "object", "embed", "foreignobject"}


def test_hostile_names_are_shown_and_nothing_more() -> None:
    page = report()
    assert "<script" not in page
    assert "\x00" not in page
    assert read(page).text.count("<script src=//evil.example/x.js></script>") >= 2  # in the table and the facts
    assert not [name for name, _ in read(page).attributes if name.startswith("on")]


def test_the_page_is_readable_by_day_and_by_night() -> None:
    page = report()
    assert "color-scheme:light dark" in page
    assert "background:Canvas;color:CanvasText" in page
    drawn = re.findall(r"<svg.*?</svg>", page, flags=re.S)
    assert len(drawn) == 4
    assert all(not re.search(r"#(000|fff)\b|black|white", one) for one in drawn)


def test_bars_are_as_long_as_their_values() -> None:
    bars = Bars(title="x", unit="y", values={"a": 1.0, "b": 4.0})
    page = html("x", [Section(title="x", kind="log", plots=[bars])], {}, now_s=NOW_S)
    short, long = (float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)"', page))
    assert long == pytest.approx(4 * short, rel=0.01)


def test_points_lie_where_their_figures_are() -> None:
    cheap = Interval(value=1.0, low=0.0, high=2.0, rounds=10)
    points = Points(
        title="x", across="lost", up="found", values={"a": (cheap, 0.5), "b": (4.0, 1.0), "c": (float("nan"), 0.0)}
    )
    page = html("x", [Section(title="x", kind="simulated", plots=[points])], {}, now_s=NOW_S)
    (ax, ay), (bx, by) = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', page)  # c has a name and no point
    assert (float(ax), float(bx)) == (70 + 600 / 4, 670)  # from 0, the whisker's end, to 4
    assert (float(ay), float(by)) == (240, 14)
    assert 'd="M70.0 240.0H370.0M220.0 240.0V240.0"' in page
    assert ">c</text>" in page


def test_as_many_policies_as_are_simulated_have_colours_of_their_own() -> None:
    points = Points(title="x", across="a", up="b", values={name: (n, n) for n, name in enumerate("abcdefgh")})
    page = html("x", [Section(title="x", kind="simulated", plots=[points])], {}, now_s=NOW_S)
    assert len(set(re.findall(r'<circle [^>]*fill="(#\w+)"', page))) == 8


def test_nothing_to_show_is_a_page_too() -> None:
    plots = [
        Bars(title="b", unit="u", values={}),
        Lines(title="l", across="x", up="y", curves={}),
        Points(title="p", across="x", up="y", values={}),
    ]
    page = html("empty", [Section(title="none", kind="log", plots=plots)], {}, now_s=NOW_S)
    assert "none" in read(page).text


def test_the_same_figures_make_the_same_page() -> None:
    assert report() == report()


def test_a_curve_wants_a_y_for_every_x() -> None:
    with pytest.raises(ValueError, match="ours: a y for every x wanted, got 2 and 1"):
        Lines(title="x", across="x", up="y", curves={"ours": ([1, 2], [1])})
