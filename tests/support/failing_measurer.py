"""A process that measures `first`, `second` and `third`, and meets at `second` what a file called `fate` says."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from bench.node.measured.child import told_what_to_do
from bench.node.measured.figure import absent, figure
from bench.node.measured.messages import Begun, Lost, Over, Ready, Told

NAMES = ("first", "second", "third")


def main() -> None:
    connection, job = told_what_to_do()
    folder = Path(job.folder)
    fate = (folder / "fate").read_text()
    with (folder / "pids").open("a") as pids:
        print(os.getpid(), file=pids)
    if job.done and fate == "crash at every later start":
        os._exit(1)
    connection.send(Ready(NAMES, "2.0", 4))
    for name in NAMES:
        if name in job.done:
            continue
        connection.send(Begun((name,), 0.1))
        if name == "second":
            meet(fate)
        if name == "second" and fate == "lose":
            connection.send(Told({name: absent("an illegal memory access")}))
            connection.send(Lost("CUDA error: an illegal memory access was encountered"))
            os._exit(0)
        connection.send(Told({name: figure([1.0, 2.0, 4.0], "made up")}))
    connection.send(Over())
    os._exit(0)


def meet(fate: str) -> None:
    if fate.startswith("crash"):
        print("the driver has met something", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if fate == "hang":
        time.sleep(60)


if __name__ == "__main__":
    main()
