"""A light load generator: sends prepared requests over loopback, and says what came back and what it cost.

A process of its own, so that its processor time can be told from the service's. Reads a plan as JSON from
standard input and writes a report to standard output; always ends after the plan's seconds and a grace.
"""

import asyncio
import json
import resource
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

GRACE = 20.0
"""Seconds in which answers may still come after the last request."""


@dataclass
class Report:
    """What came back.

    Attributes:
        answers: when each began and ended, in seconds from the start, and its status.
        skipped: requests that were due and not sent, since all connections were busy.
        broken: connections that broke.
    """

    answers: list[tuple[float, float, int]] = field(default_factory=list)
    skipped: int = 0
    broken: int = 0


class Connection:
    """One keep-alive connection, opened when it is needed."""

    def __init__(self, port: int):
        self.port = port
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def ask(self, request: bytes) -> int:
        """Send one request and read its answer; the status.

        Raises:
            OSError: the connection broke.
        """
        if self.writer is None or self.reader is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(request)
        try:
            head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, IndexError) as error:
            raise ConnectionError from error
        return int(head.split(b" ", 2)[1])

    def close(self) -> None:
        """Break the connection."""
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


async def closed_loop(plan: dict, requests: list[bytes], report: Report) -> None:
    """Each client sends its next request when the last one is answered."""
    start = time.perf_counter()
    following = cycle(requests)

    async def client() -> None:
        connection = Connection(plan["port"])
        while (began := time.perf_counter() - start) < plan["seconds"]:
            await _one(connection, next(following), start, began, report)
        connection.close()

    await asyncio.gather(*(client() for _ in range(plan["clients"])))


def due_times(plan: dict) -> list[float]:
    """When the requests of an open loop begin, in seconds from its start."""
    rate, seconds = plan["rate"], plan["seconds"]
    times = [number / rate for number in range(int(rate * seconds))]
    if "then" in plan:
        times += [seconds + number / plan["then"] for number in range(int(plan["then"] * plan["more"]))]
    return times


async def open_loop(plan: dict, requests: list[bytes], report: Report) -> None:
    """Requests begin at constant intervals, whether or not earlier ones are answered.

    After `seconds` at `rate` come `more` seconds at the rate `then`, if the plan has them.
    """
    following = cycle(requests)
    idle = [Connection(plan["port"]) for _ in range(plan["clients"])]
    running: set[asyncio.Task[None]] = set()
    start = time.perf_counter()

    async def send(connection: Connection, due: float) -> None:
        await _one(connection, next(following), start, due, report)
        idle.append(connection)

    for due in due_times(plan):
        if (wait := due - (time.perf_counter() - start)) > 0:
            await asyncio.sleep(wait)
        if not idle:
            report.skipped += 1
            continue
        # Counted from when it was due, not from when this process got round to it.
        task = asyncio.create_task(send(idle.pop(), due))
        running.add(task)
        task.add_done_callback(running.discard)
    if running:
        await asyncio.wait(running, timeout=GRACE)


async def _one(connection: Connection, request: bytes, start: float, began: float, report: Report) -> None:
    try:
        status = await connection.ask(request)
    except OSError:
        connection.close()
        report.broken += 1
        return
    report.answers.append((began, time.perf_counter() - start, status))


def main() -> None:
    """Run the plan: `port`, `seconds`, `clients`, `requests` (files), and for an open loop `rate`."""
    plan = json.load(sys.stdin)
    requests = [Path(name).read_bytes() for name in plan["requests"]]
    report = Report()
    loop = open_loop if "rate" in plan else closed_loop
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    try:
        most = plan["seconds"] + plan.get("more", 0) + GRACE
        asyncio.run(asyncio.wait_for(loop(plan, requests, report), most))
    except TimeoutError:
        report.broken += 1
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    print(
        json.dumps(
            {
                "answers": report.answers,
                "statuses": Counter(status for _, _, status in report.answers),
                "skipped": report.skipped,
                "broken": report.broken,
                "cpu_seconds": cpu,
                "seconds": time.perf_counter() - began,
            }
        )
    )


if __name__ == "__main__":
    main()
