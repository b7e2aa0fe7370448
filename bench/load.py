"""A load generator, in a process of its own: open-loop arrivals over kept connections, or a closed loop.

    python -m bench.load < asked.json

An arrival is due when a Poisson clock says so, whether or not earlier ones were answered, and its latency counts from
then on: a server that is late is not waited for (Tene's "coordinated omission"). One that finds no free connection is
made on a new one, up to `connections`; beyond, it waits its turn, and that counts too. SIGTERM ends it early.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be sent."""

    host: str
    port: int
    requests: list[str]
    """Whole requests, taken in turns: method, path, headers, body."""
    seconds: float
    rate: float | None = None
    """Arrivals a second; None: a closed loop, in which each connection asks again when it is answered."""
    connections: int = 16
    seed: int = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What came of it, one entry a request, in the order of their ends."""

    due_s: list[float]
    """When it was due, from the start."""
    took_s: list[float]
    """From then to the last byte of the answer."""
    status: list[int]
    """0: no answer, or a connection that broke."""
    errors: list[str]
    """What broke, of the first few."""


class _Connection:
    """HTTP/1.1 as far as it is needed: an answer has a Content-Length, or none and no body."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.closes = False

    async def ask(self, request: bytes) -> int:
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        fields = dict(line.split(b": ", 1) for line in lines[1:] if b": " in line)
        await self._reader.readexactly(int(fields.get(b"content-length", b"0")))
        self.closes = fields.get(b"connection") == b"close"
        return int(head[9:12])

    def close(self) -> None:
        self._writer.close()


class Load:
    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._free: list[_Connection] = []
        self._room = asyncio.Semaphore(asked.connections)
        self._requests = [request.encode() for request in asked.requests]
        self.answers = Answers(due_s=[], took_s=[], status=[], errors=[])

    async def run(self) -> Answers:
        self._began, self._ends_s = time.monotonic(), self._asked.seconds
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: setattr(self, "_ends_s", 0.0))
        await (self._closed_loop() if self._asked.rate is None else self._open_loop(self._asked.rate))
        for connection in self._free:
            connection.close()
        return self.answers

    async def _closed_loop(self) -> None:
        async def one(number: int) -> None:
            while (due_s := time.monotonic() - self._began) < self._ends_s:
                await self._send(number, due_s)
                number += self._asked.connections

        await asyncio.gather(*(one(number) for number in range(self._asked.connections)))

    async def _open_loop(self, rate: float) -> None:
        rng = np.random.default_rng(self._asked.seed)
        sent, due_s = set(), 0.0
        number = 0
        while (due_s := due_s + float(rng.exponential(1 / rate))) < self._ends_s:
            await asyncio.sleep(max(0.0, due_s - (time.monotonic() - self._began)))
            task = asyncio.ensure_future(self._send(number, due_s))
            sent.add(task)
            task.add_done_callback(sent.discard)
            number += 1
        if sent:
            await asyncio.wait(sent)

    async def _send(self, number: int, due_s: float) -> None:
        async with self._room:
            status = 0
            connection = None
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    connection = self._free.pop() if self._free else await self._connected()
                    status = await connection.ask(self._requests[number % len(self._requests)])
            except (OSError, EOFError, TimeoutError) as error:
                if len(self.answers.errors) < 10:
                    self.answers.errors.append(repr(error))
                if connection is not None:
                    connection.closes = True
        if connection is not None:
            if connection.closes:
                connection.close()
            else:
                self._free.append(connection)
        self.answers.due_s.append(due_s)
        self.answers.took_s.append(time.monotonic() - self._began - due_s)
        self.answers.status.append(status)

    async def _connected(self) -> _Connection:
        return _Connection(*await asyncio.open_connection(self._asked.host, self._asked.port))


def main() -> None:
    asked: dict[str, Any] = json.load(sys.stdin)
    answers = asyncio.run(Load(Asked(**asked)).run())
    json.dump(asdict(answers), sys.stdout)


if __name__ == "__main__":
    main()
