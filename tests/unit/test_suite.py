"""What a suite may say, how specs inherit, and the one line each mistake gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import InputError
from bench.core.spec import Case
from bench.core.suite import load_suite

SUITE = """
suite: example
base:
  model: {path: tiny}
  workload: {kind: reasoning, sessions: 4, token_scale: 0.5}
  load: {kind: closed, concurrency: 2, time_scale: 0.1}
  slo: {ttft_ms: 500}
specs:
  - name: first
  - name: second
    workload: {kind: agentic, sessions: 3}
    load: {concurrency: 8}
    slo: {ttft_ms: null}
trace:
  name: replayed
  workload: {token_scale: 0.1}
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "example.yaml"
    path.write_text(SUITE)
    return path


def test_unset_inherits_null_is_off_and_another_kind_starts_afresh(suite: Path) -> None:
    first, second = load_suite(str(suite)).specs
    assert (first.load.kind, first.slo.ttft_ms, first.workload.token_scale) == ("closed", 500, 0.5)
    assert second.load.model_dump(exclude_defaults=True) == {"kind": "closed", "concurrency": 8, "time_scale": 0.1}
    assert second.slo.ttft_ms is None
    assert second.workload.token_scale == 1.0


def test_settings_go_over_every_spec(suite: Path) -> None:
    specs = load_suite(str(suite), sets=("engine.max_running=4", "measure.percentiles=[0.5]", "slo.tpot_ms=20")).specs
    assert [spec.engine.model_dump()["max_running"] for spec in specs] == [4, 4]
    assert [spec.measure.percentiles for spec in specs] == [(0.5,), (0.5,)]
    assert [spec.slo.tpot_ms for spec in specs] == [20, 20]


def test_a_kind_keeps_what_is_set_beside_it_in_whatever_order(suite: Path) -> None:
    speculation = ("engine.speculation.tokens=2", "engine.speculation.kind=ngram")
    sets = ("load.time_scale=0.5", *speculation, "load.kind=trace", "engine.kind=native")
    for spec in (*load_suite(str(suite), sets=sets).specs, *load_suite(str(suite), sets=sets[::-1]).specs):
        assert (spec.load.kind, spec.load.time_scale) == ("trace", 0.5)
        assert spec.engine.model_dump()["speculation"] == {"kind": "ngram", "tokens": 2, "match_tokens": 3}


def test_a_trace_runs_in_place_of_the_specs(suite: Path) -> None:
    (spec,) = load_suite(str(suite), trace="rows.csv").specs
    assert spec.name == "replayed"
    assert spec.workload.model_dump(include={"kind", "path", "token_scale"}) == {
        "kind": "trace",
        "path": "rows.csv",
        "token_scale": 0.1,
    }
    (unscaled,) = load_suite(str(suite), trace="rows.csv", sets=("workload.token_scale=1",)).specs
    assert unscaled.workload.token_scale == 1


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("engine.speed=9", "unknown key 'engine.speed' (allowed: kind, device, "),
        ("load.concurrency=-1", "load.concurrency = -1 (allowed: greater than 0)"),
        ("load.rate=3", "unknown key 'load.rate' (allowed: "),
        ("workload.sessions=many", "workload.sessions = 'many' (allowed: integer"),
        ("engine.kind=abacus", "engine.kind = 'abacus' (allowed: 'native', 'mock', 'endpoint', 'vllm', 'vllm-server')"),
        ("load={kind: poisson}", "'load.sessions_per_s' is missing"),
        ("load={kind: poisson, sessions_per_s: -2}", "load.sessions_per_s = -2 (allowed: greater than 0)"),
        ("model.path=null", "model.path = None (allowed: string)"),
        ("measure.percentiles=[0.5, 2]", "measure.percentiles.1 = 2 (allowed: less than 1)"),
        ("workload.token_scale=.inf", "workload.token_scale = inf (allowed: a finite number)"),
        ("surprise=1", "unknown key 'surprise' (allowed: name, model, engine"),
        ("concurrency", "--set: 'concurrency' (allowed: a.b=value)"),
        ("a..b=1", "--set: 'a..b=1' (allowed: a.b=value)"),
        ("load=[", "--set: 'load=[' has a value that is not YAML"),
    ],
)
def test_a_wrong_setting_is_told_with_its_place_and_what_is_allowed(suite: Path, setting: str, line: str) -> None:
    with pytest.raises(InputError) as caught:
        load_suite(str(suite), sets=(setting,))
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"specs: [\n", ":2: not YAML"),
        (b"\xff\xfe\x00", "not UTF-8 at byte 0 (allowed: UTF-8 text)"),
        (b"- a\n- b\n", "the document is list (allowed: a mapping"),
        (b"", "the document is NoneType (allowed: a mapping"),
        (b"specs: []\n", "`specs` is missing or empty"),
        (b"specs: [3]\n", "specs[0] is int"),
        (b"spec: []\n", "unknown key 'spec' (allowed: suite, description, base, specs, trace)"),
        (b"specs: [!!python/object/apply:os.system ['true']]\n", "not YAML"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, content: bytes, line: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_suite(str(path))
    assert line in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"smok: no such suite \(allowed: a path, or a name: .*smoke"):
        load_suite("smok")


def test_two_specs_may_not_share_a_name(suite: Path) -> None:
    suite.write_text(SUITE.replace("second", "first"))
    with pytest.raises(InputError, match="two specs are named 'first'"):
        load_suite(str(suite))


def test_a_suite_without_a_trace_section_refuses_a_trace(suite: Path) -> None:
    suite.write_text(SUITE.partition("trace:")[0])
    with pytest.raises(InputError, match="no `trace` section"):
        load_suite(str(suite), trace="rows.csv")


def test_a_case_is_named_by_what_decides_its_numbers(suite: Path) -> None:
    def case_id(*sets: str, workload: str = "w") -> str:
        spec = load_suite(str(suite), sets=sets).specs[0]
        return Case.of(spec, model_digest="m", workload_digest=workload).id

    assert case_id() == case_id("model.path=elsewhere", "engine.device=cpu", "measure.repeats=3")
    changed = {
        case_id("engine.max_running=3"),
        case_id("slo.ttft_ms=9"),
        case_id("load.concurrency=7"),
        case_id(workload="v"),
    }
    assert len(changed | {case_id()}) == 5


def test_the_id_of_a_stored_case_is_of_the_fields_it_was_stored_with(suite: Path) -> None:
    case = Case.of(load_suite(str(suite)).specs[0], model_digest="m", workload_digest="w")
    stored = case.model_dump(mode="json")
    assert Case.model_validate(stored).id_as_stored() == case.id
    del stored["spec"]["slo"]["tpot_ms"]  # as a version would have it that did not know of it yet
    older = Case.model_validate(stored)
    assert older.spec.model_dump() == case.spec.model_dump()
    assert older.id_as_stored() != case.id
