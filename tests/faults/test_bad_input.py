"""Bad input through the command: exit code 2, one line with file, place and what is allowed, and no result left."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.core.configs import config_root

TINY = config_root() / "models" / "tiny"
SUITE: dict[str, Any] = {
    "base": {
        "model": {"path": "tiny"},
        "engine": {"kind": "mock", "ttft_ms": 1.0, "tpot_ms": 0.1},
        "load": {"kind": "closed", "concurrency": 4},
        "measure": {"percentiles": [0.5], "warmup_sessions": 0},
    },
    "specs": [{"name": "thinking", "workload": {"kind": "reasoning", "sessions": 4, "token_scale": 0.02}}],
    "trace": {"name": "replayed", "workload": {"token_scale": 0.1}},
}
OFFER = """
id: mine
provider: Example
kind: iaas
hardware: h100_sxm
unit: accelerator
quoted: 2026-11-22
currency: USD
source: {text: a quote, read: 2026-11-22}
confidence: high
terms:
  - price: {plan: on_demand, per_unit_hour: 2.5}
"""
SESSION = {
    "id": "one",
    "block_size": 64,
    "hash_id_scope": "local",
    "requests": [{"t": 0.0, "type": "n", "in": 70, "out": 5, "hash_ids": [1]}],
}
REMOVED = object()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, in which no result may lie after the test."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not list(tmp_path.glob("runs/*"))


@pytest.fixture
def refusal(bench: Callable[..., Any]) -> Callable[..., str]:
    """Runs `bench …`, which must refuse, and returns its line; progress may only precede what an engine alone finds."""

    def refused(*arguments: object, found_by_engine: bool = False) -> str:
        ran = bench(*arguments)
        assert (ran.code, ran.out) == (2, "")
        *progress, line = ran.err.splitlines()
        assert progress == (["thinking: starting the engine"] if found_by_engine else [])
        assert line.startswith("bench: ")
        return str(line)

    return refused


def written(changes: dict[str, Any]) -> Path:
    """SUITE in a file, with `changes` by dotted place."""
    document = copy.deepcopy(SUITE)
    for place, value in changes.items():
        *parents, last = (int(part) if part.isdigit() else part for part in place.split("."))
        owner: Any = document
        for parent in parents:
            owner = owner[parent]
        if value is REMOVED:
            del owner[last]
        else:
            owner[last] = value
    path = Path("small.yaml")
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.parametrize(
    ("place", "value", "what", "allowed"),
    [
        ("extra", 1, "unknown key 'extra'", "suite, description, base, specs, trace"),
        ("base.engine.tpot", 1, "specs[0]: unknown key 'engine.tpot'", "ttft_ms, tpot_ms"),
        ("specs.0.workload.sesions", 9, "specs[0]: unknown key 'workload.sesions'", "sessions"),
        ("base.load.concurrency", "many", "specs[0]: load.concurrency = 'many'", "integer"),
        ("base.engine", "mock", "specs[0]: engine = 'mock'", "a mapping of keys to values"),
        ("base.measure.seed", None, "specs[0]: measure.seed = None", "integer"),
        ("base.load", {"kind": "poisson", "sessions_per_s": -2}, "load.sessions_per_s = -2", "greater than 0"),
        ("base.load", {"kind": "poisson", "sessions_per_s": float("nan")}, "load.sessions_per_s = nan", "finite"),
        ("base.measure.percentiles", [99], "measure.percentiles.0 = 99", "less than 1"),
        ("base.engine.kind", "warp", "engine.kind = 'warp'", "'native', 'mock'"),
        ("specs.0.workload.kind", REMOVED, "'workload.kind' is missing", "'reasoning', 'agentic', 'trace'"),
        ("specs", [], "`specs` is missing or empty", "a list of one or more specs"),
        ("specs", SUITE["specs"] * 2, "two specs are named 'thinking'", "a name once"),
    ],
)
def test_a_suite_that_says_something_wrong(
    refusal: Callable[..., str], place: str, value: Any, what: str, allowed: str
) -> None:
    line = refusal("run", written({place: value}))
    assert line.startswith("bench: small.yaml: ")
    assert what in line
    assert allowed in line.partition("(allowed: ")[2]


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ("engine", "'engine'"),
        ("engine.ttft_ms", "'engine.ttft_ms'"),
        (".=1", "'.=1'"),
        ("engine=[", "a value that is not YAML"),
        ("engine=2026-13-45", "a value that is not YAML"),
    ],
)
def test_a_setting_that_is_none(refusal: Callable[..., str], setting: str, what: str) -> None:
    line = refusal("run", written({}), "--set", setting)
    assert line.startswith("bench: --set: ")
    assert what in line
    assert "(allowed: a.b=value)" in line


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"suite: caf\xe9\n", "small.yaml: not UTF-8 at byte 10 (allowed: UTF-8 text)"),
        (b"base: {}\nspecs: [\n", "small.yaml:3: not YAML: "),
        (b"- 1\n", "small.yaml: the document is list (allowed: a mapping of keys to values)"),
        (b"", "small.yaml: the document is NoneType (allowed: a mapping of keys to values)"),
        (b"[" * 5000, "small.yaml: nested too deeply"),
        (b"specs: !!python/object/apply:os.mkdir [runs/made]\n", "small.yaml:1: not YAML: "),
    ],
)
def test_a_suite_that_cannot_be_read(refusal: Callable[..., str], content: bytes, told: str) -> None:
    Path("small.yaml").write_bytes(content)
    assert refusal("run", "small.yaml").startswith(f"bench: {told}")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "trace: the trace is empty (allowed: CSV with the columns TIMESTAMP"),
        (b"TIMESTAMP,ContextTokens,GeneratedTokens\n", "trace:1: the trace has a header but no row (allowed: "),
        (b"TIMESTAMP,ContextTokens,GeneratedTokens\n1,-4,2\n", "trace:2: ContextTokens = '-4' (allowed: "),
        (b"TIMESTAMP,ContextTokens,GeneratedTokens\n1,\xff,2\n", "trace:2: not UTF-8 at byte 2"),
        (json.dumps(SESSION).encode() + b'\n{"id": "two", "requests": [{"t"\n', "trace:2: not JSON at column "),
        (json.dumps({**SESSION, "requests": [{"type": "n"}]}).encode(), "trace:1: 'requests.0.n.t' is missing"),
        (b"\x80\x04pickled", "trace:1: not UTF-8 at byte 0"),
    ],
)
def test_a_broken_trace(refusal: Callable[..., str], content: bytes, told: str) -> None:
    Path("trace").write_bytes(content)
    assert refusal("run", written({}), "--trace", "trace").startswith(f"bench: {told}")


def test_a_trace_for_a_suite_that_replays_none(refusal: Callable[..., str]) -> None:
    Path("trace").write_text(json.dumps(SESSION))
    assert "no `trace` section" in refusal("run", written({"trace": REMOVED}), "--trace", "trace")


def test_what_a_later_spec_needs_is_missed_before_the_first_runs(refusal: Callable[..., str]) -> None:
    later = {"name": "later", "workload": {"kind": "agentic", "sessions": 4, "profile": "none-such"}}
    line = refusal("run", written({"specs": [*SUITE["specs"], later]}))
    assert line.startswith("bench: none-such: no such workload (allowed: a path, or a name: ")


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_model_folder_that_lacks_a_file(refusal: Callable[..., str], file: str) -> None:
    shutil.copytree(TINY, "model")
    (Path("model") / file).unlink()
    suite = written({"base.model.path": "model", "base.engine": {"threads": 1}})
    line = refusal("run", suite, found_by_engine=file == "model.safetensors")
    assert line.startswith("bench: model")
    assert file in line
    assert "(allowed: " in line


def test_truncated_weights(refusal: Callable[..., str]) -> None:
    shutil.copytree(TINY, "model")
    weights = Path("model") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    suite = written({"base.model.path": "model", "base.engine": {"threads": 1}})
    line = refusal("run", suite, found_by_engine=True)
    assert line.startswith("bench: model/model.safetensors: not a whole safetensors file")


BOTH = OFFER + "    contract: {value: 1000, term_months: 12, units: 4}\n"


@pytest.mark.parametrize(
    ("offer", "told"),
    [
        (BOTH, "mine.yaml: terms.0 = "),
        (OFFER.replace("quoted: 2026-11-22", "quoted: 2026-13-45"), "mine.yaml:7: no such date: "),
        (OFFER.replace("read: 2026-11-22", "read: 2026-02-30"), "mine.yaml:9: no such date: "),
        (OFFER.replace("quoted: 2026-11-22", "quoted: tomorrow"), "mine.yaml: quoted = 'tomorrow' (allowed: date)"),
        (OFFER.replace("2.5", "-2.5"), "mine.yaml: terms.0.price.per_unit_hour = -2.5 (allowed: greater than 0)"),
        (OFFER.replace("2.5", ".inf"), "mine.yaml: terms.0.price.per_unit_hour = inf (allowed: a finite number)"),
        (OFFER.replace("2.5", "1e99"), "mine.yaml: terms.0.price.per_unit_hour = '1e99' (allowed: less than"),
        (OFFER.replace("id: mine", "id: yours"), "mine.yaml: id = 'yours' (allowed: the file's name, 'mine')"),
        (OFFER + "valid_till: 2027-01-01\n", "mine.yaml: unknown key 'valid_till' (allowed: id, provider"),
        (OFFER + "notes: caf\udce9\n", "mine.yaml: not UTF-8 at byte "),
    ],
)
def test_a_broken_offer_is_told_by_every_verb_that_reads_it(refusal: Callable[..., str], offer: str, told: str) -> None:
    Path("mine.yaml").write_text(offer, errors="surrogateescape")
    reading = [
        ("offers", "check", "mine.yaml"),
        ("offers", "show", "mine.yaml"),
        ("offers", "list", "mine.yaml"),
        ("run", written({}), "--offers", "mine.yaml"),
    ]
    for arguments in reading:
        assert refusal(*arguments).startswith(f"bench: {told}")


def test_an_offer_with_a_price_and_a_contract_is_told_what_to_choose(refusal: Callable[..., str]) -> None:
    Path("mine.yaml").write_text(BOTH)
    assert "(allowed: exactly one of price, contract, tokens)" in refusal("offers", "check", "mine.yaml")


def test_two_offers_of_one_id(refusal: Callable[..., str]) -> None:
    for name in ("ours", "theirs"):
        Path(name).mkdir()
        (Path(name) / "mine.yaml").write_text(OFFER)
    line = refusal("offers", "check", "ours", "theirs")
    assert line == "bench: theirs/mine.yaml: offer 'mine' is also in ours/mine.yaml (allowed: an id once)"


@pytest.mark.parametrize(
    "command",
    [
        "run nowhere",
        "run smoke --trace nowhere",
        "run smoke --offers nowhere",
        "run smoke --set model.path=nowhere",
        "compare nowhere",
        "compare results --offers nowhere",
        "verify nowhere",
        "offers list nowhere",
        "offers show nowhere",
        "offers check nowhere",
    ],
)
def test_a_path_that_does_not_exist(refusal: Callable[..., str], result: Path, command: str) -> None:
    line = refusal(*command.split())
    assert line.startswith("bench: nowhere: ")
    assert "(allowed: " in line


@pytest.mark.parametrize("verb", ["compare", "verify"])
def test_a_folder_without_a_record(refusal: Callable[..., str], verb: str) -> None:
    Path("runs").mkdir()
    told = "runs: holds no record (allowed: a folder with a record.json in it or below it)"
    assert refusal(verb, "runs") == f"bench: {told}"


@pytest.mark.parametrize("verb", ["compare", "verify"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "is not a record: "),
        (b"\xff\xfe", "is not a record: "),
        (b"[" * 100_000, "is not a record: "),
        (b"[]", "has schema None (allowed: neobench.record/1)"),
        (b'{"schema": "neobench.record/9"}', "has schema 'neobench.record/9' (allowed: neobench.record/1)"),
        (b'{"schema": "neobench.record/1"}', "'id' is missing"),
    ],
)
def test_a_record_that_is_none(refusal: Callable[..., str], result: Path, verb: str, content: bytes, told: str) -> None:
    (result / "record.json").write_bytes(content)
    assert refusal(verb, "results").startswith(f"bench: results/{result.name}/record.json: {told}")


@pytest.mark.parametrize("out", ["taken", "taken/below", "leads-nowhere", "/proc/runs"])
def test_a_place_that_takes_no_results(refusal: Callable[..., str], out: str) -> None:
    Path("taken").write_text("not a folder")
    Path("leads-nowhere").symlink_to("nowhere")
    line = refusal("run", written({}), "--out", out)
    assert line.startswith(f"bench: {out}")
    assert "cannot be written: " in line
    assert "(allowed: a folder with room)" in line
    assert Path("taken").read_text() == "not a folder"


@pytest.mark.parametrize("out", [".", "nowhere/schema.json"])
def test_a_place_that_takes_no_schema(refusal: Callable[..., str], out: str) -> None:
    assert refusal("offers", "export-schema", "--out", out).startswith(f"bench: {out}: cannot be written: ")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("fly", "No such command 'fly' (allowed: what `bench -h` shows)"),
        ("offers fly", "No such command 'fly' (allowed: what `bench offers -h` shows)"),
        ("offers", "Missing command (allowed: what `bench offers -h` shows)"),
        ("run", "Missing argument 'SUITE' (allowed: what `bench run -h` shows)"),
        ("verify", "Missing argument 'RESULT' (allowed: what `bench verify -h` shows)"),
        ("run smoke --fast", "No such option: --fast"),
        ("run smoke again", "Got unexpected extra argument"),
        ("run smoke --out", "Option '--out' requires an argument"),
        ("compare results --format xml", "Invalid value for '--format': 'xml' is not one of 'table', 'json'"),
        ("compare results --utilisation half", "Invalid value for '--utilisation': "),
        ("compare results --utilisation 0", "utilisation = 0.0 (allowed: a share above 0 and at most 1)"),
        ("compare results --utilisation 2", "utilisation = 2.0 (allowed: a share above 0 and at most 1)"),
        ("compare results --utilisation nan", "utilisation = nan (allowed: a share above 0 and at most 1)"),
        ("compare results --allocation 0", "allocation = 0.0 (allowed: "),
        ("compare results --availability -1", "availability = -1.0 (allowed: "),
        ("compare results --discount-rate -0.1", "discount rate = -0.1 (allowed: a number of at least 0"),
        ("compare results --price-ratio inf", "price of input over output = inf (allowed: a number of at least 0)"),
    ],
)
def test_a_command_line_that_is_none(refusal: Callable[..., str], result: Path, command: str, told: str) -> None:
    assert refusal(*command.split()).startswith(f"bench: {told}")
