"""One process that answers HTTP, on a socket that it was handed: `service/web/serve.py` starts it.

    python -m service.web.http SOCKET_FD READY_FD LIFELINE_FD FOLDER PLACE ASKED

SIGTERM drains: nothing new is taken, what is in hand is answered and its connection ended, idle connections end last.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
from pathlib import Path
from types import FrameType

import uvicorn
from prometheus_client import CollectorRegistry

from index.access import Access
from ingest.sandbox import die_with_parent
from service.library import Library
from service.web.app import create_app
from service.web.asked import Asked
from service.web.doors import Doors
from service.web.lines import log_to_stderr
from service.web.meters import counting_with
from service.web.wire import Protocol

LINGER_S = 1.0
"""So long a process that is asked to end still answers on connections that are open, each for the last time: a client
that has just sent something on one of them must not find it closed."""
SWITCH_S = 0.001
"""So long a thread may keep the others waiting; Python's own 5 ms, times the threads that search, add up to a wait."""
END_S = 30.0
"""What is in hand then is cut off."""


class Server(uvicorn.Server):
    """Says when it is ready, and lingers before it ends."""

    def __init__(self, config: uvicorn.Config, ready_fd: int, draining: asyncio.Event) -> None:
        super().__init__(config)
        self._ready_fd, self._draining = ready_fd, draining

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        os.write(self._ready_fd, b"1")
        os.close(self._ready_fd)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        loop = asyncio.get_event_loop()
        if self._draining.is_set():
            super().handle_exit(sig, frame)
            return
        self._draining.set()
        for server in self.servers:
            server.close()  # others take what comes now, on the same socket
        end = super().handle_exit
        loop.call_soon_threadsafe(lambda: loop.call_later(LINGER_S, end, sig, frame))


def _freeze() -> None:
    """What is loaded by now stays: looking through it again and again stops every answer for 110 ms."""
    gc.collect()
    gc.freeze()


def main(arguments: list[str]) -> None:
    socket_fd, ready_fd, lifeline_fd = map(int, arguments[:3])
    asked = Asked.model_validate_json(arguments[5])
    die_with_parent(lifeline_fd)
    log_to_stderr()
    sys.setswitchinterval(SWITCH_S)
    library = Library.open(Path(asked.home), space=asked.space, create=False)
    library.warm_up()
    registry = CollectorRegistry()
    doors = Doors(library=library, access=Access(library.home.ledger), settings=asked.settings, registry=registry)
    meters = counting_with(Path(arguments[3]), arguments[4], registry)
    _freeze()
    if any(key.revoked_s is None and {"feed", "feed:any"} & set(key.scopes) for key in doors.access.listed()):
        library.load_feeds(_freeze)  # where nobody has a key for feeds, nobody is to pay for their memory
    draining = asyncio.Event()
    config = uvicorn.Config(
        create_app(doors, draining, meters),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(END_S),
        timeout_keep_alive=75,
        http=Protocol,
        ws="none",
        proxy_headers=False,  # nothing here asks where a request came from
    )
    listening = socket.socket(fileno=socket_fd)
    Server(config, ready_fd, draining).run(sockets=[listening])


if __name__ == "__main__":
    main(sys.argv[1:])
