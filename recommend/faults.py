"""What can be wrong with what was asked, each with one line for a person. Light: the command line knows all of them."""

from __future__ import annotations


class TooLittle(ValueError):
    """There is not enough in the log to learn from; the formula goes on ranking."""


class Leak(ValueError):
    """A feature knows what came of its own row: whatever is trained with it is worth nothing."""


class UnknownDial(ValueError):
    """A dial that there is not; the message says which there are."""
