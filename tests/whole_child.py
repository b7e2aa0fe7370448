"""A decode child that leaves nothing out. Tests compare with it."""

from __future__ import annotations

import sys
from functools import partial

from ingest.decode_child import decode_once, main

if __name__ == "__main__":
    main(sys.argv[1:], partial(decode_once, whole=True))
