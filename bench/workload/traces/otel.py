"""OpenTelemetry `gen_ai` spans: what an instrumented agent or service asked, with times, and with words where recorded.

A session is the requests of one `gen_ai.conversation.id`, or of one trace where there is none; a span without an id of
its own has its trace's. A file's requests are all held, for spans stand in the order in which they ended, or in none.

What waits for what, in order of start:

* A request whose prompt continues another's, that is, begins with all of the other's messages and has more, waits for
  the longest it continues. It also waits for everything that began after that one had ended and that ended last before
  it: what was fanned out in between is joined, and was, with all that it continues, a sub-agent's.
* Any other request waits for those that ended last before it: all that had ended by then, but for what one of these
  began after. Requests that overlap are thus parallel, after what both follow.

The delay runs from the last of them to the request's start. It is a tool's where a span of `execute_tool` lies in it
or the prompt ends with a tool's words, a human's where it ends with a user's. Without words it is a tool's inside a
trace, and a human's where a new trace of the conversation begins.

A prompt's tokens are those of its words. Prompts told by `gen_ai.usage.input_tokens` alone keep as many tokens of the
prompt before, and of its answer, as `gen_ai.usage.cache_read.input_tokens` says.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import accumulate
from pathlib import Path

from bench.core.errors import InputError
from bench.core.sessions import DelayClass, Message, Segment, Session, Turn
from bench.workload.traces.conversation import History
from bench.workload.traces.format import Head, Reading, TraceFormat
from bench.workload.traces.growing_context import GrowingContext
from bench.workload.traces.otel_order import Order
from bench.workload.traces.otel_requests import Request, is_request, is_tool, request_of
from bench.workload.traces.otel_spans import Span, spans

_NS_PER_S = 1e9


def sessions(path: Path, reading: Reading) -> Iterator[Session]:
    """The sessions in order of arrival. Raises InputError with file and line for a span that is broken, and where no
    span is a request to a model."""
    requests: list[Request] = []
    tools: list[Span] = []
    of_trace: dict[str, str] = {}
    known: dict[Message, Message] = {}
    for span in spans(path):
        if span.conversation is not None:
            of_trace.setdefault(span.trace, span.conversation)
        if is_request(span):
            requests.append(_with_known(request_of(span), known))
        elif is_tool(span):
            tools.append(replace(span, attributes={}))
    if not requests:
        raise InputError("no span is a request to a model", where=path, allowed="spans with gen_ai.usage.output_tokens")
    requests.sort(key=lambda request: (request.span.start_ns, request.span.end_ns))
    by_session: defaultdict[str, list[Request]] = defaultdict(list)
    for request in requests:
        by_session[_name(request.span, of_trace)].append(request)
    tools_by_session: defaultdict[str, list[Span]] = defaultdict(list)
    for tool in tools:
        tools_by_session[_name(tool, of_trace)].append(tool)
    first_ns = requests[0].span.start_ns
    for name, asked in by_session.items():
        turns = _turns(name, asked, _Busy(tools_by_session[name]), reading.count_tokens)
        yield Session(name, turns, (asked[0].span.start_ns - first_ns) / _NS_PER_S)


def _with_known(request: Request, known: dict[Message, Message]) -> Request:
    """`request` with each message held once, however many prompts repeat it."""
    if request.messages is None:
        return request
    return replace(request, messages=tuple(known.setdefault(message, message) for message in request.messages))


def _name(span: Span, of_trace: dict[str, str]) -> str:
    conversation = of_trace.get(span.trace) if span.conversation is None else span.conversation
    return f"trace-{span.trace}" if conversation is None else f"conversation-{conversation}"


def _turns(
    name: str, requests: Sequence[Request], tools: _Busy, count_tokens: Callable[[str], int]
) -> tuple[Turn, ...]:
    counted = cache(count_tokens)  # The same words stand in every prompt that continues them.
    order = Order()
    prompts = _prompts(name, requests, counted)
    waits = [order.add(request.span, prompt) for request, prompt in zip(requests, prompts, strict=True)]
    turns: list[Turn] = []
    for request, prompt, after, agent in zip(requests, prompts, waits, order.agents(), strict=True):
        output_tokens = request.output_tokens
        if output_tokens is None:
            output_tokens = sum(counted(message.text) for message in request.answer or () if message.text)
        thinking_tokens = min(request.thinking_tokens, max(output_tokens - 1, 0))
        turn = Turn(len(turns), prompt, output_tokens, thinking_tokens, after, agent=agent)
        if after:
            last = max((requests[index] for index in after), key=lambda one: one.span.end_ns)
            delay_s = (request.span.start_ns - last.span.end_ns) / _NS_PER_S
            turn = replace(turn, delay_s=delay_s, delay_class=_delay_class(last, request, tools))
        turns.append(turn)
    return tuple(turns)


def _delay_class(last: Request, request: Request, tools: _Busy) -> DelayClass:
    if tools.between(last.span.end_ns, request.span.start_ns):
        return "tool"
    if request.messages is not None:
        return "human" if request.messages[-1].role == "user" else "tool"
    return "tool" if request.span.trace == last.span.trace else "human"


def _prompts(name: str, requests: Sequence[Request], count_tokens: Callable[[str], int]) -> list[tuple[Segment, ...]]:
    told = GrowingContext(f"{name}/told")
    for request in requests:
        if request.messages is None:
            kept = min(request.cached_tokens, request.input_tokens or 0, told.tokens)
            told.ask(kept, (request.input_tokens or 0) - kept)
            told.answer(request.output_tokens or 0)
    by_length = iter(told.prompts())
    prompts = []
    for request in requests:
        history = History(name, count_tokens)
        for message in request.messages or ():
            history.say(message)
        prompts.append(next(by_length) if request.messages is None else history.prompt)
    return prompts


class _Busy:
    """When tools of a session ran."""

    def __init__(self, tools: Sequence[Span]) -> None:
        ordered = sorted(tools, key=lambda tool: tool.start_ns)
        self._starts = [tool.start_ns for tool in ordered]
        self._ends = list(accumulate((tool.end_ns for tool in ordered), max))
        """The latest end of all up to here."""

    def between(self, start_ns: int, end_ns: int) -> bool:
        """Whether one ran at some time after `start_ns` and before `end_ns`."""
        began = bisect_left(self._starts, end_ns)
        return began > 0 and self._ends[began - 1] > start_ns


def _recognises(head: Head) -> bool:
    document = head.document or {}
    context = document.get("context")
    return (
        "resourceSpans" in document
        or {"traceId", "spanId"} <= document.keys()
        or (isinstance(context, dict) and "trace_id" in context)
    )


FORMAT = TraceFormat(
    "otel",
    "spans of OpenTelemetry's gen_ai conventions: OTLP JSON with resourceSpans, or a JSON object a span",
    "your own telemetry; the conventions (github.com/open-telemetry/semantic-conventions) are Apache-2.0",
    _recognises,
    sessions,
)
