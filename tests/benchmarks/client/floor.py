"""A client that only reads: one loop over epoll that parses nothing. Nothing in Python can ask for less.

    python floor.py '{"host": …, "port": …, "open": 64, "requests": 3000, "output_tokens": 1, "prompt_tokens": 16}'

Prints one JSON document: of each request when it was sent and when each packet of its answer was read.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_END = b"\r\n0\r\n\r\n"
_READ_BYTES = 1 << 18
_GIVE_UP_SECONDS = 60.0


Answered = tuple[int, "array[int]"]
"""When a request was sent, and when each packet of its answer was read."""


@dataclass(slots=True)
class Lane:
    """One kept connection, on which one request follows another."""

    socket: socket.socket
    sent_ns: int = 0
    packets_ns: array[int] = field(default_factory=lambda: array("q"))


def ask(task: dict[str, Any]) -> dict[str, Any]:
    request = _request(task)
    poll = select.epoll()
    lanes: dict[int, Lane] = {}
    for _ in range(task["open"]):
        connection = socket.create_connection((task["host"], task["port"]))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        lanes[connection.fileno()] = Lane(connection)
        poll.register(connection, select.EPOLLIN)
    answers = list(_answers(task["requests"], request, lanes, poll))
    return {
        "sent_ns": [sent_ns for sent_ns, _ in answers],
        "packets_ns": [packets_ns.tolist() for _, packets_ns in answers],
    }


def _answers(requests: int, request: bytes, lanes: dict[int, Lane], poll: select.epoll) -> Iterator[Answered]:
    left = requests
    for lane in lanes.values():
        if left:
            left -= 1
            lane.sent_ns = time.monotonic_ns()
            lane.socket.send(request)
    done = 0
    while done < requests:
        ready = poll.poll(_GIVE_UP_SECONDS)
        if not ready:
            raise SystemExit(f"nothing within {_GIVE_UP_SECONDS:g} s")
        for fd, _ in ready:
            lane = lanes[fd]
            data = lane.socket.recv(_READ_BYTES)
            lane.packets_ns.append(time.monotonic_ns())
            if not data:
                raise SystemExit("the server closed a connection")
            if data.endswith(_END):
                done += 1
                yield lane.sent_ns, lane.packets_ns
                lane.packets_ns = array("q")
                if left:
                    left -= 1
                    lane.sent_ns = time.monotonic_ns()
                    lane.socket.send(request)


def _request(task: dict[str, Any]) -> bytes:
    body = json.dumps(
        {
            "model": "mock",
            "prompt": list(range(task["prompt_tokens"])),
            "max_tokens": task["output_tokens"],
            "ignore_eos": True,
            "stream": True,
        }
    )
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {task['host']}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


if __name__ == "__main__":
    print(json.dumps(ask(json.loads(sys.argv[1]))))
