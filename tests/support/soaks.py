"""Soaks that never took place: the log and the report of one, around a result that did."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from bench.results.result import Result
from bench.results.soak_log import SEGMENTS, Began, Ended, Segment, SoakWriter, read_soak
from bench.soak.report import report_of, write_report


def write_soak(
    folder: Path, result: Path, up_s: Sequence[float], down_s: float, engine_start_s: float | None = 2.0
) -> Path:
    """A soak in `folder` whose engine was up for each of `up_s` seconds, and down for `down_s` between each two.

    Every segment has the one record of `result`, and all but the last end in a failure.
    """
    record = Result.open(result).record
    folder.mkdir()
    writer = SoakWriter(folder)
    writer.append(Began, seconds=sum(up_s), case=record.case)
    now = 0.0
    for index, seconds in enumerate(up_s):
        name = f"segment-{index}"
        shutil.copytree(result, folder / SEGMENTS / name)
        failed = index < len(up_s) - 1
        up_from = now + (down_s if index else 0.0)
        end = up_from + seconds
        writer.append(
            Segment,
            record=name,
            engine=index + 1,
            start_s=now,
            up_from_s=up_from,
            end_s=end,
            gone_s=end if failed else None,
            failure="crashed" if failed else None,
            engine_start_s=engine_start_s,
        )
        now = end
    writer.append(Ended, at_s=now, reason="its time was over")
    writer.close()
    log = read_soak(folder)
    write_report(log, report_of(log))
    return folder
