"""ServeGen client compositions: requests drawn from how often each client asks and how long its requests are.

In each of its windows a client asks with gaps of the published distribution and shape, independent of one another, in a
process that has been going on for ever, so that the requests expected are exactly the published rate's. The published
scale is left alone. In most windows gaps of that scale come as often as the rate says, but in some up to thousands of
times as often; the format does not say why, and we read those as fits to the gaps inside bursts. The clients' requests
are merged in order of time.

Each length is drawn from the client's histogram for that window, every field with a generator of its own: the fields
are published apart, and one draw for all of them would make the longest prompts have the longest answers.
`reason_ratio` is the thinking share of the output, of which at least one token is answer. `image_tokens` is drawn for
each of `image_count` images; they stand before the text.

Clients that ask without a histogram of their lengths, or send audio or video, are left out and counted by their rate.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.core.sessions import Session, Turn
from bench.workload.picture_size import picture_segment
from bench.workload.stream import LeftOut
from bench.workload.traces.format import Head, Reading, TraceFormat
from bench.workload.traces.servegen_composition import Client, Composition, Histogram, Window, composition
from bench.workload.traces.turns import unshared

_PROMPT_FIELDS = ("input_tokens", "text_tokens")
_FIELDS = (*_PROMPT_FIELDS, "output_tokens", "reason_ratio", "image_count", "image_tokens")
"""Their order numbers their generators."""
_BATCH = 4096
"""Gaps drawn at once, so that memory does not grow with the rate."""


def sessions(path: Path, reading: Reading) -> Iterator[Session | LeftOut]:
    """One session of one turn a request. The same seed draws the same sessions. Raises InputError with file and line
    where the composition is broken."""
    composed = composition(path)
    yield from _left_out(composed)
    streams = (
        _requests(client, number, composed, reading.seed)
        for number, client in enumerate(composed.clients)
        if _why_not(client) is None
    )
    for request in heapq.merge(*streams):
        yield _session(request, composed.clients[request.client])


class _Request(NamedTuple):
    """Ordered by time, and where times are equal by client and number."""

    time_s: float
    client: int
    number: int
    text_tokens: int
    output_tokens: int
    thinking_tokens: int
    image_tokens: tuple[int, ...]


def _session(request: _Request, client: Client) -> Session:
    name = f"client-{client.id}/{request.number}"
    pictures = (picture_segment(f"{name}/image-{i}", n) for i, n in enumerate(request.image_tokens) if n)
    text = unshared(name, request.text_tokens)
    turn = Turn(0, (*pictures, *text), request.output_tokens, request.thinking_tokens)
    return Session(name, (turn,), request.time_s)


def _why_not(client: Client) -> str | None:
    """Why `client` cannot be drawn; None if it can."""
    for lengths in (client.lengths(window.start_s) for window in client.windows if window.rate):
        if "output_tokens" not in lengths or not any(name in lengths for name in _PROMPT_FIELDS):
            return "of clients without length histograms"
        if any(name in lengths and lengths[name].quantiles([1.0]) != [0.0] for name in ("audio_count", "video_count")):
            return "of clients that send audio or video"
    return None


def _left_out(composed: Composition) -> Iterator[LeftOut]:
    """What the clients that are not drawn would have asked, from their rates."""
    rates: dict[str, list[float]] = {}
    for client in composed.clients:
        reason = _why_not(client)
        if reason is not None:
            rates.setdefault(reason, []).extend(window.rate for window in client.windows)
    total = math.fsum(composed.rates())
    for reason, missing in rates.items():
        share = math.fsum(missing) / total
        yield LeftOut(f"{reason}, {share:.1%} of the rate", round(math.fsum(missing) * composed.window_s))


def _requests(client: Client, place: int, composed: Composition, seed: int) -> Iterator[_Request]:
    """All that `client` asks, in order of time."""
    for_gaps, *for_fields = (np.random.default_rng([seed, place, i]) for i in range(1 + len(_FIELDS)))
    generators = dict(zip(_FIELDS, for_fields, strict=True))
    number = 0
    for window in client.windows:
        lengths = client.lengths(window.start_s)
        offset_s = window.start_s - composed.start_s
        for times in arrivals(window, composed.window_s, for_gaps) if window.rate else ():
            drawn = _lengths(lengths, generators, len(times))
            for time_s, request in zip((offset_s + times).tolist(), drawn, strict=True):
                yield _Request(time_s, place, number, *request)
                number += 1


def arrivals(window: Window, seconds: float, generator: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """Times from the start of `window`, which is `seconds` long, in batches."""
    # Time is counted in mean gaps. From an arbitrary moment on, the next arrival is in a gap that is met with a
    # probability that grows with its length, and anywhere in that gap.
    place = generator.random() * float(_gap_around_a_moment(window, generator))
    end = window.rate * seconds
    while place < end:
        gaps = _gaps(window, generator, min(_BATCH, math.ceil(end - place) + 16))
        places = place + np.concatenate([[0.0], np.cumsum(gaps)])
        place = float(places[-1])
        inside = places[:-1] / window.rate
        yield inside[inside < seconds]


def _gaps(window: Window, generator: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Gaps whose mean is 1."""
    shape = window.shape
    if window.gaps == "Gamma":
        return generator.gamma(shape, 1 / shape, n)
    return _weibull(shape, np.log(generator.standard_exponential(n)))


def _gap_around_a_moment(window: Window, generator: np.random.Generator) -> NDArray[np.float64]:
    shape = window.shape
    if window.gaps == "Gamma":
        return np.asarray(generator.gamma(shape + 1, 1 / shape))
    return _weibull(shape, np.log(generator.gamma(1 + 1 / shape)))


def _weibull(shape: float, log_exponential: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return np.asarray(np.exp(log_exponential / shape - math.lgamma(1 + 1 / shape)))


def _lengths(
    lengths: Mapping[str, Histogram], generators: Mapping[str, np.random.Generator], n: int
) -> Iterator[tuple[int, int, int, tuple[int, ...]]]:
    """Text, output and thinking tokens of `n` requests, and their images' tokens."""

    def draw(name: str, count: int = n) -> NDArray[np.float64]:
        return lengths[name].draw(generators[name], count) if name in lengths else np.zeros(count)

    output = draw("output_tokens").astype(np.int64)
    thinking = np.minimum(np.rint(output * draw("reason_ratio")).astype(np.int64), np.maximum(output - 1, 0))
    text = np.sum([draw(name) for name in _PROMPT_FIELDS], axis=0).astype(np.int64)
    images = draw("image_count").astype(np.int64)
    ends = np.cumsum(images)
    tokens = draw("image_tokens", int(images.sum())).astype(np.int64).tolist()
    starts = (ends - images).tolist()
    pictures = (tuple(tokens[start:end]) for start, end in zip(starts, ends.tolist(), strict=True))
    return zip(text.tolist(), output.tolist(), thinking.tolist(), pictures, strict=True)


def _recognises(head: Head) -> bool:
    return head.document is not None and {"client_id", "trace_csv"} <= head.document.keys()


FORMAT = TraceFormat(
    "servegen",
    "a JSON object a client, of ServeGen's compositions: client_id, trace_csv, dataset; requests are drawn",
    "compositions of ServeGen (github.com/alibaba/ServeGen), Apache-2.0; cite ServeGen, arXiv 2505.09999",
    _recognises,
    sessions,
    drawn=True,
)
