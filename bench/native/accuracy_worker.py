"""The process that computes a reference and holds another engine to it: what torch takes ends with it.

Before it answers it gives back the device's memory, but for what CUDA keeps for a process. It ends when it has compared
or when nobody listens any more.
"""

from __future__ import annotations

import os
from pathlib import Path

from bench.core.errors import EngineError, InputError
from bench.core.host import usable_cpus
from bench.native.accuracy_messages import Compare, MakeReference, NoReference, Probes
from bench.native.command_queue import open_command_queue


def main() -> None:
    connection, questions = open_command_queue()
    first = questions.get()
    assert isinstance(first, MakeReference)
    import torch  # behind what this says to OpenMP

    from bench.native.accuracy import make_reference
    from bench.native.accuracy_likely import compare_likely
    from bench.native.device import in_a_line, resolve_device

    torch.set_num_threads(usable_cpus())
    try:
        reference = make_reference(Path(first.model_folder), resolve_device("auto"))
    except (InputError, EngineError, RuntimeError, MemoryError) as error:
        connection.send(NoReference(in_a_line(error)))
        os._exit(0)
    torch.cuda.empty_cache()
    connection.send(Probes(reference.probes))
    second = questions.get()
    assert isinstance(second, Compare)
    connection.send(compare_likely(second.told, reference))
    os._exit(0)


if __name__ == "__main__":
    main()
