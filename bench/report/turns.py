"""Lines on what a record's turns came to: the SLO, sessions and their waits, efforts, correct answers, oddities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.markup import escape

from bench.report.format import ABSENT, headline, milliseconds, number, value_of


def what_the_turns_came_to(record: Mapping[str, Any]) -> Iterator[str]:
    """No line on what there was none of, or on what a record of an earlier version does not say."""
    yield from _slo(record["goodput"])
    yield from _from_sending(record["latency"])
    yield from _sessions(record)
    for level, effort in (record["efforts"] or {}).items():
        tokens = [f"{headline(effort[f'{kind}_tokens'])} {kind}" for kind in ("thinking", "answer")]
        ttfa = milliseconds(effort["ttfa_ms"].get("p50"))
        yield f"effort {level}: {effort['requests']} requests, {' and '.join(tokens)} tokens each, TTFA p50 {ttfa}"
    yield from _correct_answers(record)
    yield from _oddities(record["requests"] or {})


def load_settings(load: Mapping[str, Any]) -> str:
    """What of a load must be known to read its numbers, behind a comma."""
    told = [("random_start", "sessions begun in their middle"), ("recycle", "sessions sent again and again")]
    return "".join(f", {text}" for key, text in told if load.get(key))


def percent(share: float | None) -> str:
    return ABSENT if share is None else f"{share:.1%}"


def _share(stored: Mapping[str, Any]) -> str:
    if stored["low"] is None or stored["high"] is None:
        return percent(stored["value"])
    return f"{percent(stored['value'])} ({percent(stored['low'])} to {percent(stored['high'])})"


def _slo(goodput: Mapping[str, Any] | None) -> Iterator[str]:
    if (met := value_of(goodput, "meets_slo")) is not None and goodput is not None:
        asked = f"{100 * goodput['slo']['share']:g}%"
        judged = f"meets the {asked} asked" if met else f"[yellow]misses[/yellow] the {asked} asked"
        yield f"SLO: {_share(goodput['good_share'])} of the requests were good, which {judged}"


def _from_sending(latency: Mapping[str, Any] | None) -> Iterator[str]:
    """The TTFT of an open loop by either clock, where they tell two stories."""
    due, sent = (value_of(latency, name, "p50", "value") for name in ("ttft_ms", "ttft_from_send_ms"))
    if due is not None and sent is not None and due - sent > 0.01 * due:
        yield f"TTFT p50 {number(due)} ms from when a request was due, {number(sent)} ms from when it was sent"


def _sessions(record: Mapping[str, Any]) -> Iterator[str]:
    sessions = record["sessions"]
    time, idle, reuse = (value_of(sessions, part) or {} for part in ("time", "idle", "prefix_reuse"))
    tool, human = (value_of(time, f"{who}_wait_share", "value") for who in ("tool", "human"))
    if tool or human:
        yield (
            f"sessions: busy {percent(time['busy_share']['value'])} of their time, waiting for tools {percent(tool)}, "
            f"for humans {percent(human)}; nothing in flight while they waited for tools "
            f"{percent(idle['tool_wait_share']['value'])} of the window, for humans only "
            f"{percent(idle['human_wait_share']['value'])}"
        )
        speed = value_of(record["throughput"], "e2e_interactivity_tokens_per_s") or {}
        told = [f"{rank} {number(speed[rank]['value'])}" for rank in ("p50", "p90") if value_of(speed, rank, "value")]
        yield from [f"tok/s of whole requests: {', '.join(told)}"] * bool(told)
    if value_of(reuse, "of_achievable", "value") is not None:
        achieved, of_achievable = (percent(reuse[name]["value"]) for name in ("achieved", "of_achievable"))
        yield (
            f"prefix reuse: {achieved} of the prompt tokens, {of_achievable} of what could be; "
            f"{reuse['recomputed_tokens']:,} computed again"
        )


def _correct_answers(record: Mapping[str, Any]) -> Iterator[str]:
    success = record["success"]
    if success is None:
        return
    rungs = (record["energy"] or {}).get("rungs") or {}
    joules = [
        f"{headline(rung['joules_per_correct_answer'])} J {scope}"
        for scope, rung in rungs.items()
        if value_of(rung, "joules_per_correct_answer", "value") is not None
    ]
    told = f"answers: {success['correct']} of {success['checked']} correct, {_share(success['share'])}"
    if value_of(success, "output_tokens_per_correct_answer", "value") is not None:
        took = ", ".join([f"{headline(success['output_tokens_per_correct_answer'])} output tokens", *joules])
        told += f"; {headline(success['correct_answers_per_s'])} correct a second, each for {took}"
    yield told


def _oddities(requests: Mapping[str, Any]) -> Iterator[str]:
    told = [f"{count} failed: {kind}" for kind, count in (requests.get("failed") or {}).items()]
    told += [f"{word} {count}" for word, count in (requests.get("notes") or {}).items()]
    if retries := requests.get("retries"):
        told.append(f"{retries} tried again")
    if told:
        yield f"requests: {escape(', '.join(told))}"
