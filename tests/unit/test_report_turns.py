"""The lines on what a record's turns came to."""

from __future__ import annotations

from typing import Any

from bench.report.turns import load_settings, what_the_turns_came_to

SECTIONS = ("goodput", "latency", "sessions", "efforts", "success", "throughput", "energy", "requests")
NOTHING: dict[str, Any] = dict.fromkeys(SECTIONS)


def headline(value: float | None, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high}


def lines(**sections: Any) -> list[str]:
    return list(what_the_turns_came_to({**NOTHING, **sections}))


def test_what_a_record_does_not_say_is_left_out() -> None:
    assert lines() == []
    earlier = {
        "goodput": {"slo": {"ttft_ms": 1}},
        "requests": {"sent": 4},
        "latency": {"ttft_ms": {}},
        "throughput": {},
    }
    assert lines(**earlier) == []


def test_an_slo_is_met_or_missed_with_the_share_and_its_interval() -> None:
    goodput = {"slo": {"share": 0.99}, "meets_slo": True, "good_share": headline(0.995, 0.991, 0.999)}
    (met,) = lines(goodput=goodput)
    assert met == "SLO: 99.5% (99.1% to 99.9%) of the requests were good, which meets the 99% asked"
    (missed,) = lines(goodput=goodput | {"meets_slo": False})
    assert "misses" in missed


def test_waits_of_an_open_loop_that_only_the_due_time_shows() -> None:
    both = {"ttft_ms": {"p50": headline(220.0)}, "ttft_from_send_ms": {"p50": headline(3.2)}}
    assert lines(latency=both) == ["TTFT p50 220 ms from when a request was due, 3.2 ms from when it was sent"]
    assert lines(latency=both | {"ttft_ms": {"p50": headline(3.21)}}) == []


def test_sessions_that_wait_and_what_they_recompute() -> None:
    time = {"busy_share": headline(0.3), "tool_wait_share": headline(0.6), "human_wait_share": headline(0.1)}
    idle = {"tool_wait_share": headline(0.2), "human_wait_share": headline(0.0)}
    reuse = {"achieved": headline(0.4), "of_achievable": headline(0.5), "recomputed_tokens": 1234}
    speed = {"e2e_interactivity_tokens_per_s": {"p50": headline(40.0), "p90": headline(None)}}
    waits, rates, prefix = lines(sessions={"time": time, "idle": idle, "prefix_reuse": reuse}, throughput=speed)
    assert "for tools 60.0%, for humans 10.0%" in waits
    assert "for tools 20.0% of the window" in waits
    assert rates == "tok/s of whole requests: p50 40.0"
    assert prefix.endswith("40.0% of the prompt tokens, 50.0% of what could be; 1,234 computed again")


def test_efforts_answers_and_oddities() -> None:
    effort = {"requests": 9, "thinking_tokens": headline(80.0), "answer_tokens": headline(20.0), "ttfa_ms": {}}
    assert lines(efforts={"low": effort}) == [
        "effort low: 9 requests, 80.0 thinking and 20.0 answer tokens each, TTFA p50 –",
    ]
    success = {
        "checked": 50,
        "correct": 45,
        "share": headline(0.9, 0.79, 0.96),
        "correct_answers_per_s": headline(1.5),
        "output_tokens_per_correct_answer": headline(300.0),
    }
    rungs = {"gpu": {"joules_per_correct_answer": headline(2.5)}, "node": {"joules_per_correct_answer": None}}
    (answers,) = lines(success=success, energy={"rungs": rungs})
    assert answers.startswith("answers: 45 of 50 correct, 90.0% (79.0% to 96.0%); 1.5 correct a second,")
    assert answers.endswith("each for 300 output tokens, 2.5 J gpu")
    assert lines(requests={"retries": 3, "notes": {"no_usage": 2}}) == ["requests: no_usage 2, 3 tried again"]
    assert lines(requests={"failed": {"http_500": 6}}) == ["requests: 6 failed: http_500"]


def test_what_must_be_known_of_a_load() -> None:
    assert load_settings({"kind": "poisson"}) == load_settings({"random_start": False, "recycle": False}) == ""
    assert load_settings({"random_start": True, "recycle": True}).count(", sessions ") == 2
