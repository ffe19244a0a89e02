"""The check of engines that only tell their most likely tokens: what passes, what fails, and what cannot be asked."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.accuracy import start_checked
from bench.core.clock import RealClock
from bench.core.errors import EngineError
from bench.core.protocols import Capabilities
from bench.core.records import Chunk, Finish, Startup, TokenLogprob
from bench.core.sessions import TurnRequest
from bench.core.spec import Spec
from bench.engine.probing import UntoldError, likely_after
from bench.metrics.accuracy import UNTOLD, judge
from bench.native.accuracy import Reference, compare, make_reference
from bench.native.accuracy_likely import compare_likely
from bench.report.roofline import machine_and_model

TINY = Path(__file__).parents[2] / "configs" / "models" / "tiny"
SPEC = {
    "name": "checked",
    "model": {"path": "tiny"},
    "engine": {"kind": "endpoint", "base_url": "http://127.0.0.1:1", "check_accuracy": True},
    "workload": {"kind": "reasoning", "sessions": 1},
    "load": {"kind": "closed", "concurrency": 1},
}
Told = tuple[TokenLogprob, ...] | None


@pytest.fixture(scope="module")
def reference() -> Reference:
    return make_reference(TINY, torch.device("cpu"))


class ScriptedEngine:
    """Tells of a prompt what `tell` makes of it, and is otherwise an engine like any other."""

    def __init__(self, tell: Callable[[tuple[int, ...]], Told], finish: Finish | None, **can: Any) -> None:
        self._tell = tell
        self._finish = finish
        self.cancelled = 0
        capable = Capabilities(True, False, False, False, max_context_tokens=1000, logprobs=20)
        self.capabilities = replace(capable, **can)

    async def start(self) -> Startup:
        return Startup(total_s=1.0)

    def prepare(self, request: TurnRequest) -> TurnRequest:
        assert (request.max_tokens, request.ignore_eos, request.sampling.temperature) == (1, True, 0.0)
        return request

    async def submit(self, request: TurnRequest, sink: Any) -> TurnRequest:
        if (told := self._tell(request.prompt_ids)) is not None:
            sink.chunk(Chunk(0, None, 1, "answer", logprobs=told))
        if self._finish is not None:
            sink.finish(self._finish)
        return request

    async def cancel(self, handle: TurnRequest) -> None:
        self.cancelled += 1

    async def end_session(self, session_id: str) -> None: ...


def knowing(reference: Reference, shift: float = 0.0) -> Callable[[tuple[int, ...]], Told]:
    """An engine's answers out of the reference itself, its likeliest tokens less likely by `shift` nats."""
    rows = {
        probe[: place + 1]: row
        for probe, places in zip(reference.probes, reference.log_probabilities, strict=True)
        for place, row in enumerate(places)
    }

    def tell(prompt: tuple[int, ...]) -> Told:
        values, ids = rows[prompt].topk(20)
        top = tuple(zip(ids.tolist(), (values - shift).tolist(), strict=True))
        return (TokenLogprob(*top[0], top),)

    return tell


def check(
    engine: Any, folder: Path = TINY, changes: dict[str, Any] | None = None
) -> tuple[Startup, dict[str, Any] | None]:
    spec = Spec.model_validate({**SPEC, **(changes or {})})

    async def main() -> tuple[Startup, dict[str, Any] | None]:
        async with asyncio.timeout(60):
            return await start_checked(engine, spec, folder, clock=RealClock(), tell=lambda _: None)

    return asyncio.run(main())


ENDED = Finish(0, "length")


def test_an_engine_that_says_what_the_model_says_passes_in_time_of_its_start(reference: Reference) -> None:
    startup, checked = check(ScriptedEngine(knowing(reference), ENDED))
    assert startup.accuracy_s is not None
    assert startup.total_s == 1.0 + startup.accuracy_s
    accuracy = judge({"dtype": "float32", "accuracy": checked})
    assert (accuracy.status, accuracy.precision) == ("passed", "float32")
    assert accuracy.figures is not None
    assert accuracy.figures.tokens == 4 * 64
    (line,) = machine_and_model({"roofline": None, "accuracy": asdict(accuracy)})
    assert line.startswith("accuracy passed as float32: KL at least ")
    assert line.endswith("against float32 (of the 20 most likely tokens, so KL and perplexity are lower bounds)")


def test_one_whose_log_probabilities_are_off_fails(reference: Reference) -> None:
    _, checked = check(ScriptedEngine(knowing(reference, shift=0.7), ENDED))
    accuracy = judge({"dtype": "bfloat16", "accuracy": checked})
    assert accuracy.status == "failed"
    assert accuracy.reason is not None
    assert "KL" in accuracy.reason


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_asked_from_outside_the_native_engine_is_as_near_as_it_finds_itself(
    client: Any, reference: Reference, dtype: str
) -> None:
    engine = client.engine(TINY, dtype=dtype)
    client.run(engine.start())
    told = client.run(likely_after(engine, reference.probes, most=20, timeout_s=60))
    described = engine.describe()
    client.run(engine.stop())
    outside = {**described, "accuracy": {"figures": asdict(compare_likely(told, reference))}}
    assert (judge(described).status, judge(outside).status) == ("passed", "passed")
    whole, likely = described["accuracy"]["figures"], outside["accuracy"]["figures"]
    assert whole["kl_mean"] / 2 < likely["kl_mean"] < whole["kl_mean"] or whole["kl_mean"] < 1e-6
    assert likely["top1_agreement"] == pytest.approx(whole["top1_agreement"], abs=0.01)
    assert likely["perplexity_difference"] == pytest.approx(whole["perplexity_difference"], abs=0.01)


def test_another_model_behind_the_name_fails(client: Any, reference: Reference, tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    name = "model.layers.1.mlp.down_proj.weight"
    save_file({**weights, name: weights[name].roll(1, 0)}, tmp_path / "model" / "model.safetensors")
    engine = client.engine(tmp_path / "model")
    client.run(engine.start())
    told = client.run(likely_after(engine, reference.probes, most=5, timeout_s=60))
    assert judge(engine.describe()).status == "passed"
    client.run(engine.stop())
    accuracy = judge({"accuracy": {"figures": asdict(compare_likely(told, reference))}})
    assert (accuracy.status, accuracy.precision) == ("failed", UNTOLD)


def test_what_is_told_of_fewer_tokens_is_never_more_than_the_whole_divergence(reference: Reference) -> None:
    noise = torch.randn(reference.log_probabilities.shape, generator=torch.Generator().manual_seed(3))
    for scale in (0.01, 0.3, 2.0):
        engine = (reference.log_probabilities + scale * noise).log_softmax(-1)
        whole = compare(engine, reference)
        assert whole.kl_mean is not None
        bounds = []
        for most in (1, 20, engine.shape[-1]):
            values, ids = engine.topk(most)
            told = [
                [tuple(zip(*place, strict=True)) for place in zip(probe, logs, strict=True)]
                for probe, logs in zip(ids.tolist(), values.tolist(), strict=True)
            ]
            figures = compare_likely(told, reference)
            assert figures.top1_agreement == whole.top1_agreement
            bounds.append(figures.kl_mean or 0.0)
        assert bounds == sorted(bounds)
        assert bounds[-1] == pytest.approx(whole.kl_mean, rel=1e-3, abs=1e-6)
        assert figures.perplexity_difference == pytest.approx(whole.perplexity_difference, rel=1e-6)


@pytest.mark.parametrize(("token", "logprob"), [(5, 0.0), (5, float("nan")), (10**6, -1.0)])
def test_what_are_no_probabilities_of_the_models_tokens_fails(reference: Reference, token: int, logprob: float) -> None:
    told = [[((token, logprob), (6, logprob)) for _ in probe] for probe in reference.probes]
    figures = compare_likely(told, reference)
    assert figures.kl_mean is None
    assert judge({"dtype": "float32", "accuracy": {"figures": asdict(figures)}}).status == "failed"


@pytest.mark.parametrize(
    ("engine", "precision"),
    [
        ({}, UNTOLD),
        ({"kv_dtype": "float16"}, UNTOLD),
        ({"dtype": "bfloat16", "weight_format": "awq"}, UNTOLD),
        ({"dtype": "bfloat16", "kv_dtype": "auto", "weight_format": None}, "bfloat16"),
        ({"dtype": "float16", "kv_dtype": "fp8_e4m3"}, "fp8"),
    ],
    ids=str,
)
def test_a_precision_that_is_not_told_is_held_to_the_widest_threshold(
    reference: Reference, engine: dict[str, Any], precision: str
) -> None:
    figures = asdict(compare(reference.log_probabilities, reference))
    accuracy = judge({**engine, "accuracy": {"figures": figures}})
    assert (accuracy.status, accuracy.precision) == ("passed", precision)


def untold(prompt: tuple[int, ...]) -> Told:
    return None


def in_text(prompt: tuple[int, ...]) -> Told:
    return (TokenLogprob(" the", -1.0, ((" the", -1.0),)),)


@pytest.mark.parametrize(
    ("engine", "changes", "reason"),
    [
        (ScriptedEngine(untold, ENDED, logprobs=0), {}, "the engine tells no log probabilities"),
        (ScriptedEngine(untold, ENDED, prompt="text"), {}, "the engine is not asked in tokens"),
        (
            ScriptedEngine(untold, ENDED),
            {"engine": {"kind": "endpoint", "base_url": "http://127.0.0.1:1"}},
            "engine.check_accuracy is off",
        ),
        (ScriptedEngine(untold, ENDED), {"model": {"path": "tiny", "weights": "random"}}, "random weights"),
    ],
    ids=range(4),
)
def test_what_cannot_be_checked_says_why(engine: Any, changes: dict[str, Any], reason: str) -> None:
    startup, checked = check(engine, changes=changes)
    assert checked == {"reason": reason}
    assert startup.total_s >= 1.0


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        (ScriptedEngine(untold, ENDED), "no log probabilities came"),
        (ScriptedEngine(in_text, ENDED), "tokens came by their text, not by id"),
        (ScriptedEngine(untold, Finish(0, "failed", error="http_400: no")), "a text could not be asked: http_400: no"),
        (ScriptedEngine(untold, None), "the texts were not through after 0.05 s"),
    ],
    ids=range(4),
)
def test_an_engine_that_does_not_tell_says_why(engine: Any, reason: str) -> None:
    with pytest.raises(UntoldError, match=reason):
        asyncio.run(likely_after(engine, ((1, 2), (3, 4)), most=1, timeout_s=0.05))
    assert engine.cancelled == (2 if "not through" in reason else 0)


def test_a_folder_without_weights_has_no_reference_and_the_run_goes_on(tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(TINY / name, tmp_path)
    _, checked = check(ScriptedEngine(untold, ENDED), tmp_path)
    assert checked is not None
    assert checked["reason"].startswith("no reference: ")
    assert str(tmp_path) in checked["reason"]


def test_an_engine_that_does_not_start_is_no_matter_of_accuracy() -> None:
    class Dead(ScriptedEngine):
        async def start(self) -> Startup:
            raise EngineError("it died")

    with pytest.raises(EngineError, match="it died"):
        check(Dead(untold, ENDED))
