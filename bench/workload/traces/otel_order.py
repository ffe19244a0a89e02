"""What each request of a session waits for and whose it is, from when the requests ran and what they continue."""

from __future__ import annotations

from collections import defaultdict

from bench.core.sessions import Segment
from bench.workload.traces.otel_spans import Span


class Order:
    """A session's requests, told one by one in order of start; numbered from 0."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._open: list[int] = []
        """Requests that had not ended when the last one began."""
        self._ended_last: list[int] = []
        """Of those that had, all but what another of them began after."""
        self._asked: defaultdict[str, list[int]] = defaultdict(list)
        """Requests by the key that their prompt ends with."""
        self._strands: list[int] = []
        """For each request the first of those that continue one another."""
        self._joined: set[int] = set()
        """Strands that one which went on waited for."""

    def add(self, span: Span, prompt: tuple[Segment, ...]) -> tuple[int, ...]:
        """The requests that this one waits for."""
        self._end(span.start_ns)
        index = len(self._spans)
        after, strand = set(self._ended_last), index
        continued = self._continued(span, prompt)
        if continued is not None:
            strand = self._strands[continued]
            since_ns = self._spans[continued].end_ns
            joined = {other for other in after if self._spans[other].start_ns >= since_ns}
            self._joined |= {self._strands[other] for other in joined} - {strand}
            after = {continued, *joined}
        self._spans.append(span)
        self._strands.append(strand)
        self._open.append(index)
        if prompt and prompt[-1].text is not None:
            self._asked[prompt[-1].key].append(index)
        return tuple(sorted(after))

    def agents(self) -> list[int]:
        """For each request 0, or the number of the sub-agent whose strand was joined, from 1 as they begin."""
        numbers = {strand: number for number, strand in enumerate(sorted(self._joined), start=1)}
        return [numbers.get(strand, 0) for strand in self._strands]

    def _end(self, now_ns: int) -> None:
        """Take note of the requests that had ended by `now_ns`."""
        ended = [index for index in self._open if self._spans[index].end_ns <= now_ns]
        if ended:
            self._open = [index for index in self._open if self._spans[index].end_ns > now_ns]
            among = [*self._ended_last, *ended]
            latest_ns = max(self._spans[index].start_ns for index in among)
            self._ended_last = [
                index
                for index in among
                if self._spans[index].end_ns > latest_ns or self._spans[index].start_ns == latest_ns
            ]

    def _continued(self, span: Span, prompt: tuple[Segment, ...]) -> int | None:
        """The request with the longest prompt that `prompt` begins with, of several the last; it had ended."""
        for segment in reversed(prompt[:-1]):
            for index in reversed(self._asked.get(segment.key, ())):
                if self._spans[index].end_ns <= span.start_ns:
                    return index
        return None
