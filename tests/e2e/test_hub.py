"""Models of the hub, from a hub of our own on this machine. Each fetch is a process: the hub is named at import."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.core.configs import config_root

COMMIT = "5f0c" * 10
FETCH = """
import sys
from bench.core.errors import BenchError
from bench.core.hub import model_folder
try:
    print(model_folder(sys.argv[1], weights=sys.argv[2] == "whole", tell=lambda text: print(text, file=sys.stderr)))
except BenchError as error:
    print(f"{type(error).__name__}: {error}")
"""


@dataclass
class Hub:
    """Serves one repository, `example/tiny`; `example/closed` is gated, and there is no other."""

    folder: Path
    asked: list[str] = field(default_factory=list)
    """Files sent."""
    broken: bool = False
    """Files are listed, but cannot be had."""
    port: int = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, hub: Hub, *args: object) -> None:
        self._hub = hub
        super().__init__(*args)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if "example/closed" in path:
            return self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        if path == "/api/models/example/tiny/revision/main":
            return self._send_json({"id": "example/tiny", "sha": COMMIT, "siblings": []})
        if path == f"/api/models/example/tiny/tree/{COMMIT}":
            return self._send_json([self._entry(file) for file in self._files()])
        file = self._hub.folder / path.removeprefix(f"/example/tiny/resolve/{COMMIT}/")
        if file not in self._files():
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        if self._hub.broken:
            return self._send(400, b"", {})
        content = file.read_bytes()
        if self.command == "GET":
            self._hub.asked.append(str(file.relative_to(self._hub.folder)))
        return self._send(200, content, {"ETag": f'"{_digest(content)}"', "X-Repo-Commit": COMMIT})

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _files(self) -> list[Path]:
        return sorted(path for path in self._hub.folder.rglob("*") if path.is_file())

    def _entry(self, file: Path) -> dict[str, object]:
        content = file.read_bytes()
        name = str(file.relative_to(self._hub.folder))
        return {"type": "file", "path": name, "size": len(content), "oid": _digest(content)}

    def _send_json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, code: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = tmp_path / "repository"
    shutil.copytree(config_root() / "models" / "tiny", folder)
    (folder / "original").mkdir()
    (folder / "original" / "model.safetensors").write_bytes(b"the same in another format")
    (folder / "pytorch_model.bin").write_bytes(b"pickled")
    hub = Hub(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, hub))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.port = server.server_port
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def environment(hub: Hub, tmp_path: Path) -> dict[str, str]:
    """Of a user who asks this hub, with a cache of their own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return {**kept, "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": f"http://127.0.0.1:{hub.port}"}


def fetched(model: str, environment: dict[str, str], what: str = "whole") -> str:
    command = [sys.executable, "-c", FETCH, model, what]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def test_a_model_is_fetched_once_and_kept(hub: Hub, environment: dict[str, str]) -> None:
    folder = Path(fetched("example/tiny", environment))
    wanted = {path.name for path in hub.folder.iterdir() if path.suffix in (".json", ".safetensors")}
    assert {path.name for path in folder.iterdir()} == set(hub.asked) == wanted
    assert (folder / "model.safetensors").read_bytes() == (hub.folder / "model.safetensors").read_bytes()
    hub.asked.clear()
    assert fetched("example/tiny", environment) == str(folder)
    assert not hub.asked
    assert fetched("example/tiny", {**environment, "HF_HUB_OFFLINE": "1"}) == str(folder)


def test_weights_that_will_be_made_up_are_not_fetched(hub: Hub, environment: dict[str, str]) -> None:
    folder = Path(fetched("example/tiny", environment, "described"))
    assert (folder / "config.json").exists()
    assert not (folder / "model.safetensors").exists()
    told = fetched("example/tiny", {**environment, "HF_HUB_OFFLINE": "1"})
    assert told == "InputError: example/tiny: not whole in the cache, and HF_HUB_OFFLINE is set"


def test_one_that_is_not_there(environment: dict[str, str]) -> None:
    told = fetched("example/missing", environment)
    assert told.startswith("InputError: example/missing: no such path, and no such model on http://127.0.0.1")
    assert "tiny" in told
    assert "\n" not in told


def test_one_that_is_gated(environment: dict[str, str]) -> None:
    told = fetched("example/closed", environment)
    assert told.startswith("InputError: example/closed: its owner admits users one by one")
    assert "HF_TOKEN" in told


def test_offline_before_anything_was_fetched(environment: dict[str, str]) -> None:
    told = fetched("example/tiny", {**environment, "HF_HUB_OFFLINE": "1"})
    assert told == "InputError: example/tiny: not whole in the cache, and HF_HUB_OFFLINE is set"


def test_a_hub_that_does_not_answer(environment: dict[str, str]) -> None:
    told = fetched("example/tiny", {**environment, "HF_ENDPOINT": "http://127.0.0.1:9"})
    assert told.startswith("EngineError: example/tiny could not be fetched from http://127.0.0.1:9: ")
    assert "\n" not in told


def test_a_hub_that_lists_a_file_and_refuses_it(hub: Hub, environment: dict[str, str]) -> None:
    hub.broken = True
    told = fetched("example/tiny", environment)
    assert told.startswith("EngineError: example/tiny could not be fetched from ")
    assert "\n" not in told


def test_a_run_names_a_model_of_the_hub(hub: Hub, environment: dict[str, str], suite: Path, tmp_path: Path) -> None:
    mock = "engine={kind: mock, ttft_ms: 1, tpot_ms: 1}"
    command = [sys.executable, "-c", "from bench.cli.main import main; main()", "run", str(suite), "--json"]
    command += ["--out", str(tmp_path / "runs"), "--set", "model.path=example/tiny", "--set", mock]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "looking for example/tiny on the hub" in done.stderr
    assert {record["case"]["spec"]["model"]["path"] for record in json.loads(done.stdout)["records"]} == {
        "example/tiny"
    }
    assert "model.safetensors" in hub.asked
