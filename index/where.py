"""Filter expressions of strangers, checked before they become SQL.

`parse("duration_s < 30 and hashtag = 'dance'")` gives a `Filter` that renders SQL for the table and also judges a row
in Python; both say the same. Only the columns in `COLUMNS` can be named, every value is typed by its column and
escaped, and length and depth are bounded.

    expression  = term {"or" term}          term = factor {"and" factor}
    factor      = "not" factor | "(" expression ")" | test
    test        = column ("=" | "!=" | "<>" | "<" | "<=" | ">" | ">=") value
                | column ["not"] "in" "(" value {"," value} ")"
                | column ["not"] ("like" | "contains") text
                | column "is" ["not"] "null"
    value       = number | 'text' | "text" | true | false; a time is a text such as '2026-01-31' or '2026-01-31T10:00Z'

As in SQL, a test of a column that is null is neither true nor false, and only true selects: `language != 'en'` leaves
out videos without a language. `hashtag` and `tag` test a list: `=` is true if any item is equal, `!=` if none is.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

TEXT_MAX = 10_000
"""Characters of an expression."""
DEPTH_MAX = 16
"""Brackets and `not`s inside each other; the SQL parser gives up at 50, and a level may take it two."""
TESTS_MAX = 400
"""Tests in one expression; far fewer than it takes to exhaust the stack of the SQL planner."""
NUMBER_MAX = 2**53
"""Beyond it, not every whole number is a double."""

Value = str | float | bool | datetime
Truth = bool | None


class WhereError(ValueError):
    """The expression is at fault. Says where, what came and what could have come."""


@dataclass(frozen=True, slots=True)
class Column:
    """How a column that filters may name is stored, and which values it is compared with."""

    stored: str
    kind: str
    """`text`, `number`, `flag`, `time` or `texts` (a list of text)."""


COLUMNS: Mapping[str, Column] = {
    **{
        name: Column(name, "text")
        for name in (
            "video_id", "content_sha256", "uri", "creator_id", "caption", "sound_id", "language", "visibility",
            "container", "video_codec", "pixel_format", "audio_codec", "truncated", "onscreen_text", "transcript",
        )
    },
    **{
        name: Column(name, "number")
        for name in (
            "revision", "duration_s", "declared_duration_s", "width", "height", "fps", "frame_count", "rotation_deg",
            "audio_rate_hz", "audio_channels", "speech_share",
        )
    },
    "variable_frame_rate": Column("variable_frame_rate", "flag"),
    "partial": Column("partial", "flag"),
    "uploaded_at": Column("uploaded_at", "time"),
    "hashtag": Column("hashtags", "texts"),
    "tag": Column("tags", "texts"),
}  # fmt: skip

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Compare:
    column: Column
    op: str
    value: Value

    def sql(self) -> str:
        if self.column.kind == "texts":
            has = f"array_has({self.column.stored}, {_sql_value(self.value)})"
            return has if self.op == "=" else f"(NOT {has})"
        return f"({_sql_column(self.column)} {self.op} {_sql_value(self.value)})"

    def truth(self, row: Mapping[str, Any]) -> Truth:
        stored = row[self.column.stored]
        if self.column.kind == "texts":
            return (self.value in stored) == (self.op == "=")
        return None if stored is None else _COMPARE[self.op](stored, self.value)


@dataclass(frozen=True, slots=True)
class Like:
    """`%` stands for any characters, `_` for one."""

    column: Column
    pattern: str

    def sql(self) -> str:
        return f"({self.column.stored} LIKE {sql_text(self.pattern)})"

    def truth(self, row: Mapping[str, Any]) -> Truth:
        stored = row[self.column.stored]
        wild = {"%": ".*", "_": "."}
        regex = "".join(wild.get(letter) or re.escape(letter) for letter in self.pattern)
        return None if stored is None else re.fullmatch(regex, stored, re.DOTALL) is not None


@dataclass(frozen=True, slots=True)
class Contains:
    """Letter for letter, upper and lower case apart; the search by words is the one that folds them."""

    column: Column
    part: str

    def sql(self) -> str:
        return f"contains({self.column.stored}, {sql_text(self.part)})"

    def truth(self, row: Mapping[str, Any]) -> Truth:
        stored = row[self.column.stored]
        return None if stored is None else self.part in stored


@dataclass(frozen=True, slots=True)
class IsNull:
    column: Column

    def sql(self) -> str:
        return f"({self.column.stored} IS NULL)"

    def truth(self, row: Mapping[str, Any]) -> Truth:
        return row[self.column.stored] is None


@dataclass(frozen=True, slots=True)
class Not:
    part: Node

    def sql(self) -> str:
        """By De Morgan down to the single tests: DataFusion takes `a in x and a in y` for false where x and y share
        nothing, and so `not` of it for true, also where a is null.
        """
        if isinstance(self.part, Joined):
            other = "or" if self.part.word == "and" else "and"
            return Joined(other, tuple(Not(part) for part in self.part.parts)).sql()
        return self.part.part.sql() if isinstance(self.part, Not) else f"(NOT {self.part.sql()})"

    def truth(self, row: Mapping[str, Any]) -> Truth:
        truth = self.part.truth(row)
        return None if truth is None else not truth


@dataclass(frozen=True, slots=True)
class Joined:
    """Several parts under one `and` or one `or`."""

    word: str
    parts: tuple[Node, ...]

    def sql(self) -> str:
        return "(" + f" {self.word.upper()} ".join(part.sql() for part in self.parts) + ")"

    def truth(self, row: Mapping[str, Any]) -> Truth:
        truths = [part.truth(row) for part in self.parts]
        decisive = self.word == "or"
        return decisive if decisive in truths else None if None in truths else not decisive


Node = Compare | Like | Contains | IsNull | Not | Joined


@dataclass(frozen=True, slots=True)
class Filter:
    """A checked expression."""

    text: str
    """As it was written."""
    node: Node

    def sql(self) -> str:
        return self.node.sql()

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether the row, as `rows.row_of` gives it, is selected."""
        return self.node.truth(row) is True


def parse(expression: str) -> Filter:
    """Check an expression.

    Raises:
        WhereError: it is not one, names another column, or is too long or too deep.

    >>> parse("duration_s < 30 and not hashtag = 'it''s'").sql()
    "((CAST(duration_s AS DOUBLE) < 30.0) AND (NOT array_has(hashtags, 'it''s')))"
    >>> parse("size < 30")
    Traceback (most recent call last):
    index.where.WhereError: at 1: no column 'size'; there are audio_channels, audio_codec, audio_rate_hz, caption, ...
    """
    if len(expression) > TEXT_MAX:
        raise WhereError(f"an expression has at most {TEXT_MAX} characters, got {len(expression)}")
    return Filter(expression, _Parser(expression).whole())


def sql_text(text: str) -> str:
    """A text as an SQL literal. A quote is the only character with a meaning in it, and is doubled.

    >>> sql_text("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    """`word`, `number`, `text`, `sign` or `end`."""
    text: str
    """Words in lower case; texts without their quotes."""
    at: int
    """Position of the first character, from 1."""


_PIECE = re.compile(
    r"""\s*(?: (?P<word>[A-Za-z_][A-Za-z0-9_]*)
             | (?P<number>[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)
             | (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
             | (?P<sign><=|>=|!=|<>|[=<>(),]) )""",
    re.VERBOSE,
)


def _tokens(expression: str) -> Iterator[_Token]:
    at, end = 0, len(expression.rstrip())
    while at < end:
        piece = _PIECE.match(expression, at)
        if piece is None:
            start = at + len(expression[at:]) - len(expression[at:].lstrip())
            hint = "; a text ends with the quote that it began with" if expression[start] in "'\"" else ""
            raise WhereError(f"at {start + 1}: cannot read {expression[start : start + 20]!r}{hint}")
        kind = str(piece.lastgroup)
        text = piece[kind]
        if kind == "text":
            text = text[1:-1].replace(text[0] * 2, text[0])
        yield _Token(kind, text.lower() if kind == "word" else text, piece.start(kind) + 1)
        at = piece.end()
    yield _Token("end", "the end", end + 1)


class _Parser:
    """Recursive descent; one method for each rule of the grammar above."""

    def __init__(self, expression: str) -> None:
        self.tokens = list(_tokens(expression))
        self.next = 0
        self.tests = 0

    def whole(self) -> Node:
        node = self.joined("or", 0)
        if self.token.kind != "end":
            self.fail("'and', 'or' or the end")
        return node

    def joined(self, word: str, depth: int) -> Node:
        parts = [self.joined("and", depth) if word == "or" else self.factor(depth)]
        while self.took("word", word):
            parts.append(self.joined("and", depth) if word == "or" else self.factor(depth))
        return parts[0] if len(parts) == 1 else Joined(word, tuple(parts))

    def factor(self, depth: int) -> Node:
        if depth > DEPTH_MAX:
            raise WhereError(f"at {self.token.at}: at most {DEPTH_MAX} brackets and 'not's inside each other")
        if self.took("word", "not"):
            return Not(self.factor(depth + 1))
        if self.took("sign", "("):
            node = self.joined("or", depth + 1)
            self.want("sign", ")")
            return node
        return self.test()

    def test(self) -> Node:
        self.tests += 1
        if self.tests > TESTS_MAX:
            raise WhereError(f"at {self.token.at}: at most {TESTS_MAX} tests in one expression")
        column = self.column()
        if self.took("word", "is"):
            negated = self.took("word", "not")
            self.want("word", "null")
            return Not(IsNull(column)) if negated else IsNull(column)
        if self.took("word", "not"):
            return Not(self.membership(column, "'in', 'like' or 'contains'"))
        sign = "!=" if self.token.text == "<>" else self.token.text
        if self.token.kind == "sign" and sign in _COMPARE:
            if column.kind in ("texts", "flag") and sign not in ("=", "!="):
                self.fail(f"'=' or '!=' for a {column.kind} column")
            self.next += 1
            return Compare(column, sign, self.value(column))
        return self.membership(column, "a comparison, 'in', 'like', 'contains' or 'is'")

    def membership(self, column: Column, wanted: str) -> Node:
        if self.took("word", "in"):
            self.want("sign", "(")
            values = [self.value(column)]
            while self.took("sign", ","):
                values.append(self.value(column))
            self.want("sign", ")")
            self.tests += len(values) - 1
            if self.tests > TESTS_MAX:
                raise WhereError(f"at {self.token.at}: at most {TESTS_MAX} tests in one expression")
            return Joined("or", tuple(Compare(column, "=", value) for value in values))
        for word, node in (("like", Like), ("contains", Contains)):
            if self.token.kind == "word" and self.token.text == word:
                if column.kind != "text":
                    self.fail(f"a comparison or 'in'; '{word}' is for columns of text")
                self.next += 1
                if self.token.kind != "text":
                    self.fail("a text in quotes")
                if word == "like" and "\\" in self.token.text:
                    self.fail("a pattern without a backslash; 'contains' takes any text")
                return node(column, str(self.value(column)))
        self.fail(wanted)

    def column(self) -> Column:
        token = self.token
        if token.kind != "word":
            self.fail("a column, 'not' or '('")
        if token.text not in COLUMNS:
            raise WhereError(f"at {token.at}: no column {token.text!r}; there are {', '.join(sorted(COLUMNS))}")
        self.next += 1
        return COLUMNS[token.text]

    def value(self, column: Column) -> Value:
        token = self.token
        self.next += 1
        if column.kind in ("text", "texts") and token.kind == "text":
            return _clean(token)
        if column.kind == "number" and token.kind == "number":
            number = float(token.text)
            if abs(number) > NUMBER_MAX:
                raise WhereError(f"at {token.at}: a number is at most {NUMBER_MAX}, got {token.text[:30]}")
            return number
        if column.kind == "flag" and token.text in ("true", "false"):
            return token.text == "true"
        if column.kind == "time" and token.kind == "text":
            return _time(token)
        self.next -= 1
        wanted = {"number": "a number", "flag": "true or false", "time": "a time such as '2026-01-31'"}
        self.fail(wanted.get(column.kind, "a text in quotes") + f" to compare {column.stored} with")

    @property
    def token(self) -> _Token:
        return self.tokens[self.next]

    def took(self, kind: str, text: str) -> bool:
        """Step over the next token if it is this one."""
        taken = self.token.kind == kind and self.token.text == text
        self.next += taken
        return taken

    def want(self, kind: str, text: str) -> None:
        if not self.took(kind, text):
            self.fail(repr(text))

    def fail(self, wanted: str) -> NoReturn:
        raise WhereError(f"at {self.token.at}: wanted {wanted}, got {self.token.text[:40]!r}")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _clean(token: _Token) -> str:
    try:
        token.text.encode()
    except UnicodeEncodeError as error:
        raise WhereError(f"at {token.at}: a text that is not Unicode: {error.reason}") from error
    return token.text


def _time(token: _Token) -> datetime:
    try:
        time = datetime.fromisoformat(token.text)
    except ValueError as error:
        raise WhereError(
            f"at {token.at}: a time such as '2026-01-31T10:00Z' wanted, got {token.text[:40]!r}"
        ) from error
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError as error:
        raise WhereError(f"at {token.at}: {token.text[:40]!r} is out of range") from error


def _sql_column(column: Column) -> str:
    """Numbers are compared as doubles, because Lance refuses a literal that does not fit the column's own type; times
    as whole microseconds, because literals of time differ between SQL dialects and numbers do not."""
    cast = {"number": "DOUBLE", "time": "BIGINT"}.get(column.kind)
    return f"CAST({column.stored} AS {cast})" if cast else column.stored


def _sql_value(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return str((value - _EPOCH) // timedelta(microseconds=1))
    return sql_text(value) if isinstance(value, str) else repr(value)
