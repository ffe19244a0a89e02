"""A crash or a full disk in the middle of writing loses nothing that was flushed."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.core.errors import StorageError
from bench.core.records import PowerRow
from bench.core.spec import Case, Spec
from bench.results.result import Result
from bench.results.store import ResultWriter

_WRITE_FOR_EVER = """
import sys
from pathlib import Path
from bench.core.records import PowerRow
from bench.core.spec import Case
from bench.results.store import ResultWriter

case = Case.model_validate_json(sys.argv[2])
writer = ResultWriter(Path(sys.argv[1]), case=case, node={}, provenance={}, workload={})
written = 0
while True:
    writer.append_power([PowerRow(written + i, "gpu", "0", 1.0, None) for i in range(50)])
    writer.flush()
    written += 50
    print(written, flush=True)
"""


@pytest.fixture
def case() -> Case:
    spec = Spec.model_validate(
        {
            "name": "fault",
            "model": {"path": "tiny"},
            "engine": {"kind": "mock"},
            "workload": {"kind": "reasoning", "sessions": 1},
            "load": {"kind": "closed", "concurrency": 1},
        }
    )
    return Case.of(spec, model_digest="model", workload_digest="workload")


@pytest.mark.parametrize("after", [1, 7, 40])
def test_killed_while_writing(tmp_path: Path, case: Case, after: int) -> None:
    command = [sys.executable, "-c", _WRITE_FOR_EVER, str(tmp_path), case.model_dump_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        flushed = [int(child.stdout.readline()) for _ in range(after)][-1]
        os.kill(child.pid, signal.SIGKILL)
    (folder,) = tmp_path.iterdir()
    found = Result.open(folder)
    times = found.tables().power["t_ns"].to_pylist()
    assert len(times) >= flushed
    assert len(times) % 50 == 0
    assert times == list(range(len(times)))
    assert found.record.verdict.reasons[0]["code"] == "interrupted"


def test_disk_full_keeps_what_was_written_and_tells_the_path(tmp_path: Path, case: Case) -> None:
    writer = ResultWriter(tmp_path, case=case, node={}, provenance={}, workload={})
    with _file_size_limit(100_000), pytest.raises(StorageError) as told:
        _write(writer, batches=1000)
    assert str(told.value).startswith(f"{writer.path / 'power.arrow'}: cannot be written: ")
    assert "\n" not in str(told.value)
    on_disk = Result.open(writer.path).tables().power["t_ns"].to_pylist()
    assert len(on_disk) > 0
    assert on_disk == list(range(len(on_disk)))
    assert len(writer.tables().power) == len(on_disk) + 500  # the refused rows are still in memory


def test_nothing_more_is_appended_to_a_stream_that_may_be_broken(tmp_path: Path, case: Case) -> None:
    writer = ResultWriter(tmp_path, case=case, node={}, provenance={}, workload={})
    with _file_size_limit(5_000), pytest.raises(StorageError):
        _write(writer, batches=1)
    with pytest.raises(StorageError, match="cannot be written"):
        writer.flush()
    assert len(Result.open(writer.path).tables().power) == 0


def test_a_run_whose_disk_has_room_again_is_finished_whole(tmp_path: Path, case: Case) -> None:
    writer = ResultWriter(tmp_path, case=case, node={}, provenance={}, workload={})
    with _file_size_limit(5_000), pytest.raises(StorageError):
        _write(writer, batches=1)
    result = writer.finish(writer.record)
    assert Result.open(result.path).tables().power["t_ns"].to_pylist() == list(range(500))
    assert result.finished


def test_disk_full_at_the_end_leaves_the_streams(tmp_path: Path, case: Case) -> None:
    writer = ResultWriter(tmp_path, case=case, node={}, provenance={}, workload={})
    writer.append_power([PowerRow(i * i * 7919 % 10**9, "gpu", "0", None, float(i)) for i in range(5000)])
    writer.flush()
    with _file_size_limit(20_000), pytest.raises(StorageError, match="cannot be written"):
        writer.finish(writer.record)
    found = Result.open(writer.path)
    assert not found.finished
    assert len(found.tables().power) == 5000
    assert not list(writer.path.glob("*.part"))


def _write(writer: ResultWriter, *, batches: int) -> None:
    for start in range(0, 500 * batches, 500):
        writer.append_power([PowerRow(start + i, "gpu", "0", 1.0, None) for i in range(500)])
        writer.flush()


@contextlib.contextmanager
def _file_size_limit(limit: int) -> Iterator[None]:
    """The operating system refuses to let any file of this process grow beyond `limit` bytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
