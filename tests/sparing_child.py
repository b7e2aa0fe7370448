"""A decode child that refuses what it would have to decode whole. Tests count with it."""

from __future__ import annotations

import sys

from ingest.decode_child import Decoded, Refused, decode_once, main
from ingest.decode_wire import Plan
from ingest.outlook import Unforeseen


def decode(fd: int, plan: Plan) -> Decoded:
    try:
        return decode_once(fd, plan)
    except Unforeseen as error:
        raise Refused("unforeseen", str(error)) from error


if __name__ == "__main__":
    main(sys.argv[1:], decode)
