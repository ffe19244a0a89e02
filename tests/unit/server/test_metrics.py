"""The page is what Prometheus' text format says, and its numbers are what happened."""

from __future__ import annotations

import re

import pytest
from app_serving import GENERATE, Served, app_serving, request_head
from mock_serving import ask, get
from waiting import soon

from bench.core.records import Chunk, Counters, Finish
from bench.native.server.counted_engine import CountingSink
from bench.native.server.metrics import Metrics
from bench.native.server.prometheus import Counts, Histogram

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)+)\})? ([0-9.e+-]+)')


def parsed(page: str) -> dict[str, float]:
    """Each sample by its name and labels as they stand there; every line is looked at."""
    samples, declared = {}, {}
    assert page.endswith("\n")
    for line in page.splitlines():
        if line.startswith("# HELP "):
            continue
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in declared
            declared[name] = kind
            continue
        matched = SAMPLE.fullmatch(line)
        assert matched is not None, line
        family = re.sub("_(bucket|sum|count)$", "", matched[1])
        assert declared.get(matched[1]) in ("counter", "gauge") or declared.get(family) == "histogram"
        samples[line.rpartition(" ")[0]] = float(matched[3])
    return samples


def page(served: Served) -> dict[str, float]:
    answered = get(served.url, "/metrics")
    assert answered.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parsed(answered.body.decode())


def test_requests_are_counted_by_route_and_status() -> None:
    with app_serving() as served:
        for _ in range(2):
            assert ask(served.url, prompt=None).status == 200
        assert ask(served.url, events="many").status == 400
        for path in ("/one", "/two", "/" + "x" * 500):
            assert get(served.url, path).status == 404
        counted = page(served)
    requests = {key: value for key, value in counted.items() if key.startswith("neobench_http_requests_total")}
    assert requests == {
        f'neobench_http_requests_total{{route="{GENERATE}",status="200"}}': 2,
        f'neobench_http_requests_total{{route="{GENERATE}",status="400"}}': 1,
        'neobench_http_requests_total{route="other",status="404"}': 3,
    }
    assert counted[r'neobench_info{model="a \"tiny\" one",version="1.2.3"}'] == 1
    assert counted["neobench_ready"] == 1


def test_a_client_that_leaves_before_its_answer_is_counted_as_that() -> None:
    with app_serving() as served:
        with served.connect() as connection:
            connection.sendall(request_head(9))
        key = f'neobench_http_requests_total{{route="{GENERATE}",status="400"}}'
        assert soon(lambda: key in page(served))


def test_generations_as_the_engine_ends_them() -> None:
    metrics = Metrics('back\\slash, "quotes"\nand lines', "1")
    for seconds, reason in ((0.5, "stop"), (1.0, "length"), (7200.0, "length")):
        sink = CountingSink(_Nobody(), metrics, asked_ns=0)
        sink.chunk(Chunk(round(seconds / 2 * 1e9), None, 1, "answer"))
        sink.chunk(Chunk(round(seconds * 1e9), None, 1, "answer"))
        sink.finish(Finish(round(seconds * 1e9), reason, cached_tokens=16))
    told = parsed(metrics.as_text(Counters(running=3, kv_blocks_used=2, kv_blocks_total=9), ready=False))
    assert told[r'neobench_info{model="back\\slash, \"quotes\"\nand lines",version="1"}'] == 1
    assert (told["neobench_ready"], told["neobench_generations_running"]) == (0, 3)
    assert (told["neobench_kv_blocks_used"], told["neobench_kv_blocks"]) == (2, 9)
    assert told['neobench_generations_total{finish="length"}'] == 2
    assert told["neobench_cached_prompt_tokens_total"] == 48
    buckets = [value for key, value in told.items() if key.startswith("neobench_generation_seconds_bucket")]
    assert buckets == sorted(buckets)
    assert told['neobench_generation_seconds_bucket{le="1.0"}'] == 2
    assert told['neobench_generation_seconds_bucket{le="+Inf"}'] == told["neobench_generation_seconds_count"] == 3
    assert told["neobench_generation_seconds_sum"] == pytest.approx(7201.5)
    assert told['neobench_time_to_first_token_seconds_bucket{le="0.25"}'] == 1


def test_a_bound_belongs_to_what_does_not_exceed_it() -> None:
    histogram = Histogram("seconds", "Any.", (1.0, 2.0))
    for value in (1.0, 1.5, 2.0, 2.5):
        histogram.observe(value)
    samples = parsed("".join(histogram.lines()))
    assert [samples[f'seconds_bucket{{le="{le}"}}'] for le in ("1.0", "2.0", "+Inf")] == [1, 3, 4]


def test_nothing_is_zero_and_labels_appear_with_their_first_count() -> None:
    plain, labelled = Counts("plain_total", "Any."), Counts("labelled_total", "Any.", ("one",))
    assert parsed("".join([*plain.lines(), *labelled.lines()])) == {"plain_total": 0}


class _Nobody:
    def chunk(self, chunk: Chunk) -> None: ...

    def finish(self, finish: Finish) -> None: ...
