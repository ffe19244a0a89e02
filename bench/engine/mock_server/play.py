"""The script of an answer, with whatever its fault does to HTTP."""

from __future__ import annotations

from bench.core.units import NS_PER_MS
from bench.engine.mock_server.answer import Answer
from bench.engine.mock_server.frames import Frames
from bench.engine.mock_server.http import response_head
from bench.engine.mock_server.script import Grid, Script, streamed, whole
from bench.engine.mock_server.truth import Ended

_NO_HTTP = b"\x16\x03\x01 this is no response\r\n\r\n"
_PIECES = 5
_PIECE_GAP_NS = NS_PER_MS
_HEAD_PIECE_GAP_NS = 20 * NS_PER_MS
_BYTES_MISSING = 1000


def script_of(
    answer: Answer, frames: Frames, grid: Grid, *, number: bytes, request_id: str, keep_alive: bool, role_chunk: bool
) -> Script:
    """The writes of `answer`. Its response head carries `request_id`."""
    fault = answer.fault
    kind = fault.kind if fault else None
    if fault and fault.at == 0 and kind in ("reset", "garbage"):
        return _no_response(grid, "reset" if kind == "reset" else "close")
    told = ("x-request-id", request_id)
    if answer.asked.stream and kind != "wrong_content_length":
        body = (("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache"))
        head = response_head(200, keep_alive, *body, ("transfer-encoding", "chunked"), told)
        role = number.join(frames.role) if answer.asked.chat and role_chunk else b""
        script = streamed(answer, frames, grid, number, head + role)
    else:
        text = frames.whole(answer, number)
        length = len(text) + (_BYTES_MISSING if kind == "wrong_content_length" else 0)
        body = (("content-type", "application/json"), ("content-length", str(length)))
        head = response_head(200, keep_alive, *body, told)
        script = whole(answer, grid, head, text)
    match kind:
        case "split":
            return _split(script)
        case "slow_head":
            return _slow_head(script, len(head))
        case "wrong_content_length":
            return _too_short(script)
    return script


def _no_response(grid: Grid, how: Ended) -> Script:
    yield grid.due_ns(0), b"" if how == "reset" else _NO_HTTP, 0
    return how


def _split(script: Script) -> Script:
    """Each write that has tokens in five; the last of them counts as theirs."""
    while True:
        try:
            due_ns, data, tokens = next(script)
        except StopIteration as end:
            how: Ended = end.value
            return how
        pieces = _PIECES if tokens else 1
        size = -(-len(data) // pieces)
        for index in range(pieces):
            piece = data[index * size : (index + 1) * size]
            yield due_ns + index * _PIECE_GAP_NS, piece, tokens if index == pieces - 1 else 0


def _slow_head(script: Script, head_bytes: int) -> Script:
    """The head in five writes, the rest behind it when that is due."""
    due_ns, data, tokens = next(script)
    size = -(-head_bytes // _PIECES)
    for at in range(0, head_bytes, size):
        yield due_ns, data[at : min(at + size, head_bytes)], 0
        due_ns += _HEAD_PIECE_GAP_NS
    yield due_ns, data[head_bytes:], tokens
    return (yield from script)


def _too_short(script: Script) -> Script:
    """`script`, whose head declares more than it sends, and then the end of the connection."""
    yield from script
    return "close"
