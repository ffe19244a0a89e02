"""The process the native engine steps in: commands come in, one message a step goes out.

Commands are applied between steps. The process ends on `Stop`, and also, wherever it is, when the driver's end of the
connection closes: no driver, however it died, leaves an engine behind.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from bench.core.errors import EngineError, InputError
from bench.core.records import StepRow
from bench.core.units import NS_PER_S
from bench.native.command_queue import open_command_queue
from bench.native.messages import (
    Begun,
    Cancel,
    Command,
    Ended,
    EngineFailed,
    InputRefused,
    Load,
    Ready,
    Report,
    Rows,
    Stop,
    Submit,
    Tokens,
    Update,
)

if TYPE_CHECKING:
    from bench.native.core import EngineCore
    from bench.native.load import LoadedEngine

_ROWS_EVERY_NS = NS_PER_S // 2


def main() -> None:
    connection, commands = open_command_queue()
    engine = _load(connection, commands)
    if engine is not None:
        try:
            _Worker(engine.core, connection, commands).serve()
        except EngineError as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(1)
        engine.followers.close()
    # All that was to be sent is sent, and the interpreter takes a second to take torch apart.
    os._exit(0)


def _load(connection: Connection[Report, Command], commands: SimpleQueue[Command]) -> LoadedEngine | None:
    """The engine of the first command, ready and announced; None when it was refused, which is then told."""
    command = commands.get()
    if not isinstance(command, Load):
        return None
    # torch is behind this import and takes most of the start. What it makes is never garbage: looking for some would
    # slow the start now, and stop a step in the middle later.
    gc.disable()
    from bench.native.load import load_engine

    gc.freeze()
    gc.enable()
    began = time.monotonic()
    try:
        engine = load_engine(Path(command.model_folder), command.settings, command.random_seed)
        loaded = time.monotonic()
        generated = engine.core.generate_first_token()
    except InputError as error:
        connection.send(InputRefused(error.what, error.where, error.allowed))
        return None
    except EngineError as error:
        connection.send(EngineFailed(str(error)))
        return None
    first_token = time.monotonic()
    connection.send(
        Ready(
            load_s=loaded - began - engine.compile_s - engine.capture_s - engine.accuracy_s,
            compile_s=engine.compile_s,
            capture_s=engine.capture_s,
            accuracy_s=engine.accuracy_s,
            first_token_s=first_token - loaded if generated else None,
            max_context_tokens=engine.max_context_tokens,
            description=engine.description,
        )
    )
    return engine


class _Worker:
    """The step loop."""

    def __init__(
        self, core: EngineCore, connection: Connection[Report, Command], commands: SimpleQueue[Command]
    ) -> None:
        self._core = core
        self._connection = connection
        self._commands = commands
        self._rows: list[StepRow] = []
        self._rows_sent_ns = time.monotonic_ns()

    def serve(self) -> None:
        """Step while there is work, sleep on the queue of commands while there is none, until told to stop."""
        while self._apply_commands():
            result = self._core.step()
            self._send_update(result.begun, result.tokens, result.ended)
            if result.row is not None:
                self._rows.append(result.row)
            if time.monotonic_ns() - self._rows_sent_ns >= _ROWS_EVERY_NS:
                self._send_rows()
        self._send_rows()

    def _apply_commands(self) -> bool:
        """Apply what has come, and wait for more until there is something to step. False when told to stop."""
        while not (self._core.has_work and self._commands.empty()):
            if not self._core.has_work:
                self._send_rows()
            command = self._commands.get()
            if isinstance(command, Stop):
                return False
            if isinstance(command, Submit):
                refusal = self._core.add(command)
                if refusal is not None:
                    self._send_update([], [], [Ended(command.id, "failed", str(refusal), cached_tokens=0)])
            elif isinstance(command, Cancel):
                self._core.remove(command.id)
                self._send_update([], [], [])
        return True

    def _send_update(self, begun: list[Begun], tokens: list[Tokens], ended: list[Ended]) -> None:
        self._connection.send(Update(time.monotonic_ns(), begun, tokens, ended, self._core.counters()))

    def _send_rows(self) -> None:
        if self._rows:
            self._connection.send(Rows(self._rows, self._core.statistics()))
        self._rows = []
        self._rows_sent_ns = time.monotonic_ns()


if __name__ == "__main__":
    main()
