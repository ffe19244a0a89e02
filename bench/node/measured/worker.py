"""The process that measures: a crash of it, or of a driver below it, takes nothing else with it."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from pathlib import Path

from bench.core.host import usable_cpus
from bench.node.measured.child import told_what_to_do
from bench.node.measured.messages import Begun, Job, Lost, Over, Ready, Report, Told


def main() -> None:
    connection, job = told_what_to_do()
    measure(job, connection)
    # All that was to be said is said, and the interpreter takes a second to take torch apart.
    os._exit(0)


def measure(job: Job, connection: Connection[Report | Lost | Over, Job]) -> None:
    # OpenMP threads that spin while they wait keep one another off a core that something else runs on, and a product
    # takes a hundred times as long. OpenMP reads this when torch is imported.
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    import torch  # seconds, in which the connection is watched already

    from bench.core.time_shares import dealt
    from bench.node.measured.cuda_devices import CudaDevices
    from bench.node.measured.steps import all_steps, in_order

    # A quota of CPU time halts threads that are more than it.
    torch.set_num_threads(min(torch.get_num_threads(), usable_cpus()))
    devices = CudaDevices()
    steps = all_steps(Path(job.folder), devices)
    names = tuple(name for one in steps for name in one.names)
    connection.send(Ready(names, torch.__version__, torch.get_num_threads()))
    left = {one.names[0]: one for one in in_order(steps) if not job.done.issuperset(one.names)}
    for name, share in dealt({name: one.weight for name, one in left.items()}, job.seconds):
        one = left[name]
        connection.send(Begun(one.names, share))
        connection.send(Told(one.figures(share)))
        if line := devices.lost():
            connection.send(Lost(line))
            return
    connection.send(Over())


if __name__ == "__main__":
    main()
