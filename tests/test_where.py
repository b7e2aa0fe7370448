"""What a filter expression may say, and that SQL and Python agree about every row."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import lance
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from index.where import COLUMNS, DEPTH_MAX, TESTS_MAX, TEXT_MAX, WhereError, parse, sql_text

TEXTS = [
    "",
    "en",
    "EN",
    "it's",
    'say "hi"',
    "50%",
    "a_b",
    "back\\slash",
    "-- no comment",
    "/* */",
    "猫",
    "é",
    "a\nb",
    ";",
]

ROWS: list[dict[str, Any]] = [
    {
        "language": text if i % 3 else None,
        "caption": text,
        "duration_s": [0.0, 4.5, 30.0, 1e6][i % 4] if i % 5 else None,
        "width": [0, 360, 1920][i % 3],
        "partial": bool(i % 2),
        "uploaded_at": datetime(2026, 1, 1 + i, 12, tzinfo=UTC) if i % 4 else None,
        "hashtags": TEXTS[: i % 4],
    }
    for i, text in enumerate(TEXTS)
]
TYPES = {
    "language": pa.string(), "caption": pa.string(), "duration_s": pa.float64(), "width": pa.int32(),
    "partial": pa.bool_(), "uploaded_at": pa.timestamp("us", "UTC"), "hashtags": pa.list_(pa.string()),
}  # fmt: skip


@cache
def stored() -> Any:
    table = pa.table({name: pa.array([row[name] for row in ROWS], kind) for name, kind in TYPES.items()})
    table = table.append_column("row", pa.array(range(len(ROWS))))
    return lance.write_dataset(table, Path(mkdtemp()) / "rows.lance")


def both(expression: str) -> list[int]:
    """Numbers of the rows that an expression selects, after SQL and Python have agreed on them."""
    where = parse(expression)
    by_sql = sorted(stored().to_table(columns=["row"], filter=where.sql())["row"].to_pylist())
    by_python = [i for i, row in enumerate(ROWS) if where.matches(row)]
    assert by_sql == by_python, where.sql()
    return by_sql


def test_tests_select_the_rows_that_a_person_would_pick() -> None:
    assert both("caption = '猫'") == [TEXTS.index("猫")]
    assert both('caption = "it\'s" or caption = \'say "hi"\'') == [3, 4]
    assert both("width >= 1920") == [2, 5, 8, 11]
    assert both("duration_s < 5 and width = 360") == [1, 4, 13]
    assert both("hashtag = 'EN'") == [3, 7, 11]
    assert both("hashtag in ('EN', 'en') and partial = false") == [2, 6, 10]
    assert both("uploaded_at >= '2026-01-12' and uploaded_at < '2026-01-14T12:00:00Z'") == [11]
    assert both("caption like '5_%'") == [TEXTS.index("50%")]
    assert both("caption contains '\\'") == [TEXTS.index("back\\slash")]


def test_a_test_of_a_missing_value_is_neither_true_nor_false() -> None:
    missing = [i for i, row in enumerate(ROWS) if row["language"] is None]
    assert both("language is null") == missing
    assert not set(both("language != 'en'")) & set(missing)
    assert not set(both("not language = 'en'")) & set(missing)
    assert both("language = 'en' or width = 0") == sorted({0, 3, 6, 9, 12} | {1})


def test_precedence_is_not_before_and_before_or() -> None:
    assert both("width = 0 or width = 360 and partial = true") == both("width = 0 or (width = 360 and partial = true)")
    assert both("not width = 0 and partial = true") == both("(not width = 0) and partial = true")


texts = st.one_of(st.sampled_from(TEXTS), st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
quoted = texts.map(sql_text)
times = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)).map(lambda t: f"'{t.isoformat()}'")
numbers = st.one_of(st.integers(-(2**53), 2**53), st.floats(-1e6, 1e6)).map(repr)
orders = st.sampled_from(["=", "!=", "<>", "<", "<=", ">", ">="])
tests = st.one_of(
    st.builds("{} {} {}".format, st.sampled_from(["language", "caption"]), orders, quoted),
    st.builds("{} {} {}".format, st.sampled_from(["duration_s", "width"]), orders, numbers),
    st.builds("uploaded_at {} {}".format, orders, times),
    st.builds("{} in ({}, {})".format, st.sampled_from(["hashtag", "language"]), quoted, quoted),
    st.builds("caption {} {}".format, st.sampled_from(["contains", "not contains"]), quoted),
    st.builds(
        "language {} {}".format, st.sampled_from(["like", "NOT LIKE"]), quoted.map(lambda t: t.replace("\\", ""))
    ),
    st.builds("{} is {}".format, st.sampled_from(["language", "uploaded_at"]), st.sampled_from(["null", "not null"])),
    st.sampled_from(["partial = true", "partial != true", "hashtag != 'en'"]),
)
expressions = st.recursive(
    tests,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("{} OR {}".format, inner, inner),
        st.builds("not ({})".format, inner),
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@example("not ((language in ('', 'it''s') and language in ('en', 'EN')))")  # what DataFusion simplifies wrongly
@given(expressions)
def test_sql_and_python_agree_on_every_expression(expression: str) -> None:
    both(expression)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.text("()'\"=<>!-;/*\\ andornti0.,\n", max_size=60)))
def test_nothing_but_a_checked_expression_gets_through(text: str) -> None:
    try:
        where = parse(text)
    except WhereError:
        return
    outside_quotes = re.sub(r"'(?:[^']|'')*'", "", where.sql())
    assert set(re.findall(r"[a-z_]+", outside_quotes)) <= {c.stored for c in COLUMNS.values()} | {
        "array_has",
        "contains",
        "true",
        "false",
    }


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("", "at 1: wanted a column"),
        ("   ", "at 1: wanted a column"),
        ("size < 3", "at 1: no column 'size'; there are audio_channels"),
        ("width < 'a'", "at 9: wanted a number to compare width with, got 'a'"),
        ("caption = 3", "at 11: wanted a text in quotes"),
        ("caption = 'open", "at 11: cannot read \"'open\"; a text ends with the quote"),
        ("width < 3 width", "at 11: wanted 'and', 'or' or the end"),
        ("width < 3; drop table", "at 10: cannot read '; drop table'"),
        ("width < 3 -- x", "at 11: cannot read '-- x'"),
        ("(width < 3", "at 11: wanted ')'"),
        ("uploaded_at > 'soon'", "at 15: a time such as"),
        ("uploaded_at > '0001-01-01T00:00+14:00'", "out of range"),
        ("width < 1e999", "at 9: a number is at most"),
        ("width < 9007199254740993e3", "at 9: a number is at most"),
        ("width < nan", "at 9: wanted a number"),
        ("hashtag < 'a'", "at 9: wanted '=' or '!='"),
        ("hashtag like 'a'", "at 9: wanted a comparison or 'in'"),
        ("width in ()", "at 11: wanted a number"),
        ("caption like 'a\\_'", "at 14: wanted a pattern without a backslash"),
        ("caption = '\ud800'", "at 11: a text that is not Unicode"),
        ("fused = 'x'", "no column 'fused'"),
        ("1 = 1", "at 1: wanted a column"),
        ("(" * 10_000 + "width = 1", f"at most {TEXT_MAX} characters"),
        ("(" * 100 + "width = 1" + ")" * 100, f"at most {DEPTH_MAX} brackets"),
        ("not " * 100 + "width = 1", f"at most {DEPTH_MAX} brackets"),
        (" or ".join(["width=1"] * (TESTS_MAX + 1)), f"at most {TESTS_MAX} tests"),
        ("width in (" + ",".join(["1"] * (TESTS_MAX + 1)) + ")", f"at most {TESTS_MAX} tests"),
    ],
)  # fmt: skip
def test_an_error_says_where_and_what_was_wanted(expression: str, said: str) -> None:
    with pytest.raises(WhereError, match=re.escape(said)):
        parse(expression)


def test_the_largest_expressions_that_are_allowed_can_be_run() -> None:
    assert both(" or ".join(["width = 360"] * TESTS_MAX)) == both("width = 360")
    assert both("width in (" + ",".join(["360"] * TESTS_MAX) + ")") == both("width = 360")
    assert both("(" * DEPTH_MAX + "width = 360" + ")" * DEPTH_MAX) == both("width = 360")
    assert both("not " * DEPTH_MAX + "width = 360") == both("width = 360")
    assert both(" and ".join(["(not (width = 1 or width = 2))"] * (TESTS_MAX // 2))) == list(range(len(ROWS)))
