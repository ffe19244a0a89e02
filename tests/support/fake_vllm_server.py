"""A package with vLLM's name and command, whose server is the mock one, and which fails as it is told to.

`installed` writes it for an interpreter to find; all below `main` is what it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.engine.mock_server.frames import Frames
from bench.engine.mock_server.http import HttpRequest, response
from bench.engine.mock_server.script import Script, at_once
from bench.engine.mock_server.server import MockServer
from bench.engine.mock_server.settings import MockServerSettings
from bench.engine.mock_server.truth import RequestTruth

PLAN = "FAKE_VLLM"
"""The variable that says, as JSON, what goes wrong."""
CONTEXT_TOKENS = 4096

_MAIN = """
from fake_vllm_server import main

if __name__ == "__main__":
    main()
"""
_INITIALISES = (
    "Initializing a V1 LLM engine (v0.32.0) with config: model='m', dtype=torch.bfloat16, max_seq_len=4096, "
    "load_format=auto, tensor_parallel_size=1, pipeline_parallel_size=1, data_parallel_size=1, quantization=None, "
    "enforce_eager=False, kv_cache_dtype=auto, device_config=cpu, enable_prefix_caching=True, "
    "compilation_config={'mode': <CompilationMode.NONE: 0>, 'cudagraph_mode': <CUDAGraphMode.FULL: 2>}"
)
_STARTS = (
    _INITIALISES,
    "Model loading took 0.5 GiB memory and 1.250000 seconds",
    "torch.compile took 2.50 s in total",
    "Graph capturing finished in 3 secs, took 0.10 GiB",
    "init engine (profile, create kv cache, warmup model) took 6.00 s (compilation: 2.50 s)",
)


def installed(folder: Path, version: str = "0.32.0", **plan: Any) -> dict[str, str]:
    """The environment in which this interpreter has such a vLLM.

    `plan`: `says` a last line and ends at once; `hangs` before it listens; `serves` another model; `ends_at` that
    request for tokens, killed; `refuses` that word of its command line; `deaf` to being asked to end; `left` the file
    that is told the ids of its processes.
    """
    (folder / "vllm" / "entrypoints" / "cli").mkdir(parents=True)
    for package in ("vllm", "vllm/entrypoints", "vllm/entrypoints/cli"):
        (folder / package / "__init__.py").touch()
    (folder / "vllm" / "entrypoints" / "cli" / "main.py").write_text(_MAIN)
    metadata = folder / f"vllm-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    here = Path(__file__).parent
    return {"PYTHONPATH": os.pathsep.join(map(str, (folder, here, here.parents[1]))), PLAN: json.dumps(plan)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["serve"])
    parser.add_argument("model")
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    asked, others = parser.parse_known_args()
    plan = json.loads(os.environ[PLAN])
    if plan.get("refuses") in others:
        parser.error(f"unrecognized arguments: {plan['refuses']}")
    if plan.get("left"):
        helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(plan["left"]).write_text(json.dumps({"pids": [os.getpid(), helper.pid], "arguments": others}))
    if plan.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if plan.get("says"):
        sys.exit(plan["says"])
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((asked.host, asked.port))
    for line in _STARTS:
        print(f"(EngineCore pid=1) INFO 11-23 06:00:00 [core.py:1] {line}", flush=True)
    if plan.get("hangs"):
        time.sleep(600)
    asyncio.run(_serve(plan.get("serves", asked.served_model_name), plan, asked.host, asked.port))


async def _serve(name: str, plan: dict[str, Any], host: str, port: int) -> None:
    server = _Server(name, plan)
    over = asyncio.Event()
    if not plan.get("deaf"):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    await server.start(host, port)
    await over.wait()
    await server.stop()


class _Server(MockServer):
    """The mock server under a name, with vLLM's own paths."""

    def __init__(self, name: str, plan: dict[str, Any]) -> None:
        settings = MockServerSettings(ttft_ms=1.0, gap_ms=0.2)
        super().__init__(settings)
        self._frames = Frames(settings, name)
        self.name = name
        self.plan = plan
        self.turns = 0

    def begin(self, request: HttpRequest, t_received_ns: int) -> tuple[Script, RequestTruth | None]:
        told: dict[bytes, bytes] = {
            b"/v1/models": json.dumps({"data": [{"id": self.name, "max_model_len": CONTEXT_TOKENS}]}).encode(),
            b"/version": b'{"version": "0.32.0"}',
            b"/metrics": self.metrics().encode(),
        }
        if request.path in told:
            return at_once(response(200, told[request.path], request.keep_alive)), None
        self.turns += request.method == b"POST"
        if self.turns == self.plan.get("ends_at"):
            print("(EngineCore pid=1) ERROR 11-23 06:00:09 [core.py:1] RuntimeError: it was told to break", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().begin(request, t_received_ns)

    def metrics(self) -> str:
        asked = self.turns
        return f"""
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="m"}} 3.0
vllm:num_requests_waiting{{engine="0",model_name="m"}} 2.0
vllm:kv_cache_usage_perc{{engine="0",model_name="m"}} 0.25
vllm:num_preemptions_total{{engine="0",model_name="m"}} {float(asked)}
vllm:prompt_tokens_total{{engine="0",model_name="m"}} {10.0 * asked}
vllm:generation_tokens_total{{engine="0",model_name="m"}} {4.0 * asked}
vllm:prefix_cache_queries_total{{engine="0",model_name="m"}} {10.0 * asked}
vllm:prefix_cache_hits_total{{engine="0",model_name="m"}} {5.0 * asked}
vllm:cache_config_info{{block_size="16",num_gpu_blocks="100",engine="0"}} 1.0
"""
