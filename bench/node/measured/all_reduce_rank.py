"""The process of one rank of an all-reduce: it exchanges until it is ended, and rank 0 says how long that takes."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import partial
from itertools import cycle
from multiprocessing.connection import Connection
from typing import Any

from bench.node.measured.child import told_what_to_do
from bench.node.measured.exchange_messages import EXCHANGES, LOOPBACK, Failed, Join, Taken
from bench.node.measured.trials import in_a_line


def main() -> None:
    connection, join = told_what_to_do()
    try:
        _exchange(join, connection)
    except (RuntimeError, MemoryError, OSError) as error:
        connection.send(Failed(in_a_line(error)))
    os._exit(0)


def _exchange(join: Join, connection: Connection[Any, Any]) -> None:
    import torch  # seconds, in which the connection is watched already
    import torch.distributed as dist
    from neokernels.roofline import seconds_of

    # As torch.distributed exports it, but only to those who do not check types.
    from torch._C._distributed_c10d import TCPStore

    from bench.node.measured.rates import times

    device, patience = torch.device(join.device), timedelta(seconds=join.seconds)
    store = TCPStore(LOOPBACK, join.port, join.size, is_master=False, timeout=patience)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(join.backend, store=store, rank=join.rank, world_size=join.size, timeout=patience)
    # Zeros, which no number of sums makes infinite.
    parts = [torch.zeros(nbytes // 4, dtype=torch.float32, device=device) for nbytes in join.byte_sizes]
    for part in parts:
        dist.all_reduce(part)
    for part in cycle(parts):
        seconds = seconds_of(device, partial(times, EXCHANGES, partial(dist.all_reduce, part)))
        if join.rank == 0:
            connection.send(Taken(part.nbytes, seconds / EXCHANGES))


if __name__ == "__main__":
    main()
