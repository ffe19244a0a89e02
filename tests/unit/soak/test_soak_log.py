"""The log of a soak: every line that was written whole is read back, whatever the program came to."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import InputError, StorageError
from bench.core.spec import Case
from bench.core.suite import load_suite
from bench.results.soak_log import LOG_FILE, Began, Ended, Resumed, Segment, SoakWriter, read_soak, soaks_below


@pytest.fixture
def case() -> Case:
    return Case.of(load_suite("soak").specs[0], model_digest="m", workload_digest="w")


def segment(writer: SoakWriter, record: str, start_s: float, end_s: float, engine_start_s: float | None = None) -> None:
    writer.append(
        Segment,
        record=record,
        engine=1,
        start_s=start_s,
        up_from_s=start_s,
        end_s=end_s,
        gone_s=None,
        failure=None,
        engine_start_s=engine_start_s,
    )


def test_a_log_is_read_back_with_the_time_that_was_watched(tmp_path: Path, case: Case) -> None:
    now = iter(range(1000, 1100))
    folder = tmp_path / "soak"
    folder.mkdir()
    writer = SoakWriter(folder, unix_s=lambda: float(next(now)))
    writer.append(Began, seconds=3600.0, case=case)
    segment(writer, "a", 0.0, 60.0, engine_start_s=4.0)
    writer.append(Resumed, at_s=500.0, abandoned=["b"])
    segment(writer, "c", 500.0, 560.0)
    writer.append(Ended, at_s=561.0, reason="interrupted")
    writer.close()
    log = read_soak(folder)
    assert log.began.case == case
    assert [one.record for one in log.segments] == ["a", "c"]
    assert (log.last_s, log.watched_s, log.last_unix_s) == (561.0, 121.0, 1004.0)
    assert (log.ended, log.abandoned, log.engine_start_s) == ("interrupted", ["b"], 4.0)
    assert soaks_below([folder, tmp_path]) == [folder]


def test_a_line_that_was_cut_off_is_left_out_and_does_not_spoil_the_next(tmp_path: Path, case: Case) -> None:
    writer = SoakWriter(tmp_path)
    writer.append(Began, seconds=60.0, case=case)
    segment(writer, "a", 0.0, 10.0)
    writer.close()
    with (tmp_path / LOG_FILE).open("a") as file:
        file.write('{"event":"segment","rec')
    assert [one.record for one in read_soak(tmp_path).segments] == ["a"]
    again = SoakWriter(tmp_path)
    segment(again, "b", 10.0, 20.0)
    again.close()
    assert [one.record for one in read_soak(tmp_path).segments] == ["a", "b"]


def test_one_program_writes_it(tmp_path: Path) -> None:
    writer = SoakWriter(tmp_path)
    with pytest.raises(InputError, match="being written by another program"):
        SoakWriter(tmp_path)
    writer.close()
    SoakWriter(tmp_path).close()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        SoakWriter(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "does not begin"),
        ("not json\n", "Invalid JSON"),
        ('{"event": "ended", "unix_s": 1, "at_s": 1, "reason": "x"}\n', "does not begin"),
        ('{"event": "began", "unix_s": 1}\n', "Field required"),
        ('{"event": "party"}\n', "party"),
        ('{"event": "ended", "unix_s": NaN, "at_s": 1, "reason": "x"}\n', "finite"),
    ],
)
def test_what_is_no_log_is_refused_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / LOG_FILE).write_text(text)
    with pytest.raises(InputError, match=told) as refused:
        read_soak(tmp_path)
    assert str(tmp_path) in str(refused.value)


def test_no_log_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no soak"):
        read_soak(tmp_path)
