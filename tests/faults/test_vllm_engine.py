"""What fails about vLLM in its own process: told in one line, with the reason, and nothing of it is left running."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from vllm_asking import FAKE, TINY, Asked, answer, begin, fake_spec, finish, has_ended, request, started
from waiting import soon

from bench.core.clock import RealClock
from bench.core.errors import EngineError, InputError
from bench.core.records import Finish
from bench.core.spec import VllmEngineSpec
from bench.engine.vllm import VllmEngine

STARTER = """
import asyncio, sys
from pathlib import Path
from vllm_asking import begin, fake_spec, request, started

async def main():
    async with started(fake_spec(pid_file=sys.argv[1])) as engine:
        await begin(engine, request([7], 500))
        print("asking", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def refusal(spec: VllmEngineSpec, kind: type[Exception], model: Path = TINY) -> str:
    """The line with which it does not start."""

    async def run() -> str:
        with pytest.raises(kind) as refused:
            async with started(spec, model):
                pass
        return str(refused.value)

    told = asyncio.run(run())
    assert "\n" not in told
    return told


def test_an_interpreter_that_is_none_is_bad_input_before_anything_starts() -> None:
    with pytest.raises(InputError, match=r"^engine.python: 'nowhere/python' is no program "):
        VllmEngine(fake_spec(python="nowhere/python"), TINY, clock=RealClock())


def test_an_interpreter_without_vllm_is_told_with_the_extra(tmp_path: Path) -> None:
    venv.EnvBuilder(symlinks=True).create(tmp_path)
    spec = VllmEngineSpec(kind="vllm", python=str(tmp_path / "bin" / "python"))
    assert "vLLM is not installed for" in refusal(spec, EngineError)
    assert "neobench[vllm]" in refusal(spec, EngineError)


def test_a_version_that_is_too_old_is_told(tmp_path: Path) -> None:
    shutil.copytree(FAKE, tmp_path, dirs_exist_ok=True)
    metadata = tmp_path / "vllm-0.32.0.dist-info"
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.8.4\n")
    metadata.rename(tmp_path / "vllm-0.8.4.dist-info")
    spec = VllmEngineSpec(kind="vllm", environment={"PYTHONPATH": str(tmp_path)})
    assert refusal(spec, EngineError).endswith("has vLLM 0.8.4; this needs 0.32 or newer")


def test_a_vllm_that_cannot_be_imported_is_told(tmp_path: Path) -> None:
    shutil.copytree(FAKE, tmp_path, dirs_exist_ok=True)
    (tmp_path / "vllm" / "v1" / "engine" / "async_llm.py").unlink()
    spec = VllmEngineSpec(kind="vllm", environment={"PYTHONPATH": str(tmp_path)})
    assert refusal(spec, EngineError) == "vLLM cannot be imported: No module named 'vllm.v1.engine.async_llm'"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            {"max_num_seq": 4},
            "engine.arguments.max_num_seq: vLLM has no such argument (allowed: max_num_seqs)",
        ),
        ({"qqqq": 4}, "engine.arguments.qqqq: vLLM has no such argument"),
        ({"model": "x"}, "engine.arguments.model: the model is not an argument (allowed: model.path)"),
        ({"fault": "refuses"}, "engine.arguments: vLLM refuses them: Value error, max_num_seqs is odd"),
    ],
)
def test_arguments_that_vllm_does_not_take_are_bad_input(arguments: dict[str, object], line: str) -> None:
    assert refusal(fake_spec(**arguments), InputError) == line


def test_a_folder_that_is_no_model_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json: no such file"):
        VllmEngine(fake_spec(), tmp_path, clock=RealClock())
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="the model does not say how long its context is"):
        VllmEngine(fake_spec(), tmp_path, clock=RealClock())


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (
            "out_of_memory",
            "vLLM ended with exit code 1: out of memory: ValueError: No available memory for the cache blocks.",
        ),
        ("dies_at_start", "vLLM ended with exit code 7: OSError: weights.safetensors is cut off"),
        ("hangs_at_start", "vLLM was not ready within 3 s: Waiting for a rank that never comes"),
    ],
)
def test_a_start_that_fails_is_told_with_the_last_words_and_leaves_no_process(
    fault: str, line: str, tmp_path: Path
) -> None:
    spec = fake_spec(fault=fault, pid_file=str(tmp_path / "pid"), start_timeout_s=3.0 if "hangs" in fault else 60.0)
    assert refusal(spec, EngineError) == line
    assert asyncio.run(has_ended(int((tmp_path / "pid").read_text())))


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (
            "dies_in_mid_run",
            "vLLM ended with exit code 1: "
            "Worker proc VllmWorker-0 died unexpectedly (exit code: -9), shutting down executor.",
        ),
        (
            "is_killed_in_mid_run",
            "vLLM was ended by SIGKILL: "
            "init engine (profile, create kv cache, warmup model) took 9.00 s (compilation: 3.50 s)",
        ),
    ],
)
def test_turns_of_an_engine_that_dies_fail_and_no_process_is_left(fault: str, line: str, tmp_path: Path) -> None:
    async def run() -> tuple[list[Finish], list[Asked]]:
        async with started(fake_spec(fault=fault, pid_file=str(tmp_path / "pid"))) as engine:
            asked = [await begin(engine, request([index], 100)) for index in range(3)]
            ended = [await finish(one) for one in asked]
            with pytest.raises(EngineError) as lost:
                await engine.end_session("session")
            assert str(lost.value) == line
            with pytest.raises(EngineError):
                await engine.submit(request([1], 1), Asked())
            assert engine.describe()["kind"] == "vllm"
            assert await has_ended(int((tmp_path / "pid").read_text()))
        return ended, asked

    ended, asked = asyncio.run(run())
    assert [(one.reason, one.error) for one in ended] == [("failed", f"engine_lost: {line}")] * 3
    assert all(one.chunks for one in asked)


def test_a_vllm_that_does_not_shut_down_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.engine.vllm._STOP_SECONDS", 0.2)

    async def run() -> None:
        async with started(fake_spec(fault="hangs_at_stop", pid_file=str(tmp_path / "pid"))) as engine:
            await answer(engine, request([1], 3))

    asyncio.run(run())
    assert asyncio.run(has_ended(int((tmp_path / "pid").read_text())))


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_of_it_outlives_a_run_that_is_killed(kind: signal.Signals, tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", STARTER, tmp_path / "pid"],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": ":".join([str(FAKE.parent), *filter(None, sys.path)])},
    )
    try:
        assert run.stdout is not None
        assert run.stdout.readline() == "asking\n"
        run.send_signal(kind)
        assert run.wait(30) == -kind
        assert asyncio.run(has_ended(int((tmp_path / "pid").read_text())))
    finally:
        run.kill()
        run.wait()
        assert run.stdout is not None
        run.stdout.close()


def test_a_run_that_is_killed_while_vllm_starts_leaves_nothing(tmp_path: Path) -> None:
    starter = STARTER.replace("pid_file=sys.argv[1]", "pid_file=sys.argv[1], fault='hangs_at_start'")
    run = subprocess.Popen(
        [sys.executable, "-c", starter, tmp_path / "pid"],
        env={"PYTHONPATH": ":".join([str(FAKE.parent), *filter(None, sys.path)])},
    )
    try:
        pid = _pid_in(tmp_path / "pid")
        run.kill()
        run.wait(30)
        assert asyncio.run(has_ended(pid))
    finally:
        run.kill()
        run.wait()


def _pid_in(path: Path) -> int:
    """What is soon written there."""
    assert soon(lambda: path.exists() and path.stat().st_size > 0)
    return int(path.read_text())
