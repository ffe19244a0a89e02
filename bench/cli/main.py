"""The `bench` command: its verbs, and the one place where a failure becomes a line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Annotated

import typer
from typer.exceptions import TyperException

from bench import __version__
from bench.cli import compare, mock, node, offers, run, serve, traces, tune, verify
from bench.cli.verb import Verb
from bench.core.errors import BenchError

BAD_INPUT = 2
MACHINE_FAILED = 3
INTERRUPTED = 130
HELP_NAMES = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="bench",
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings=HELP_NAMES,
    help="Measure GPU inference (tokens/s, joules per token) and price it against dated offers.",
)
app.command(name="run", cls=Verb, context_settings=HELP_NAMES)(run.run)
app.command(name="compare", cls=Verb, context_settings=HELP_NAMES)(compare.compare)
app.command(name="verify", cls=Verb, context_settings=HELP_NAMES)(verify.verify)
app.command(name="tune", cls=Verb, context_settings=HELP_NAMES)(tune.tune)
app.command(name="serve", cls=Verb, context_settings=HELP_NAMES)(serve.serve)
app.command(name="mock", cls=Verb, context_settings=HELP_NAMES)(mock.mock)
app.add_typer(offers.app, name="offers", context_settings=HELP_NAMES)
app.add_typer(traces.app, name="traces", context_settings=HELP_NAMES)
app.add_typer(node.app, name="node", context_settings=HELP_NAMES)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"neobench {__version__}")
        raise typer.Exit


@app.callback()
def _bench(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Measure GPU inference and price it against dated offers."""


def execute(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; whatever goes wrong is one line on stderr."""
    try:
        code = _run(list(arguments) or ["--help"])
        print(end="", flush=True)  # here, where a refusal can still be told
        return code
    except BenchError as error:
        return _tell(str(error), error.exit_code)
    except TyperException as error:
        return _tell(_usage_mistake(error), BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        return _tell("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader went away (`bench … | head`): nothing to tell it.
        _discard_output()
        return 0
    except OSError as error:
        _discard_output()
        return _tell(f"{error.filename or 'what was to be printed'}: {error.strerror}", MACHINE_FAILED)


def _run(arguments: list[str]) -> int:
    # Not `app()`: that has its own ways with Ctrl-C and with mistakes.
    command = typer.main.get_command(app)
    try:
        with command.make_context("bench", arguments) as context:
            code = command.invoke(context)
    except typer.Exit as done:  # --help and --version
        return done.exit_code
    return code if isinstance(code, int) else 0


def _usage_mistake(error: TyperException) -> str:
    message = error.format_message().replace("Value error, ", "").removesuffix(".")
    context = getattr(error, "ctx", None)
    return f"{message} (allowed: what `{context.command_path if context else 'bench'} -h` shows)"


def _discard_output() -> None:
    """Keep Python from trying once more to print what was refused while it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(line: str, code: int) -> int:
    print(f"bench: {' '.join(line.split())}", file=sys.stderr)
    return code


def main() -> None:
    # What ends a batch job is to keep as much as Ctrl-C does, unless a shell had Ctrl-C ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a character still gets the rest
    sys.exit(execute(sys.argv[1:]))
