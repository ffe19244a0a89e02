"""The CSV format of the Azure LLM inference traces: one request a row, no sessions, no shared prefixes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.core.records import Segment, Session, Turn
from bench.workload.traces.format import Head, Reading, TraceFormat
from bench.workload.traces.tables import count, rows

_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


def sessions(path: Path, reading: Reading) -> Iterator[Session]:
    """Each row as a session of one turn. Raises InputError with file and line for a row that is not one."""
    del reading
    for number, (_, context, generated) in rows(path, _COLUMNS):
        prompt_tokens = count(context, "ContextTokens", path, number)
        output_tokens = count(generated, "GeneratedTokens", path, number)
        name = f"line-{number}"
        prompt = (Segment(name, prompt_tokens),) if prompt_tokens else ()
        yield Session(name, (Turn(0, prompt, output_tokens),))


def _recognises(head: Head) -> bool:
    return bool({"ContextTokens", "GeneratedTokens"} & set(head.columns))


FORMAT = TraceFormat(
    "azure-csv",
    f"a CSV row a request, of the Azure LLM inference traces: {', '.join(_COLUMNS)}",
    "format of the Azure LLM inference traces; Microsoft's own files (github.com/Azure/AzurePublicDataset) "
    "are CC-BY-4.0, to be cited as Patel et al., Splitwise, ISCA 2024",
    _recognises,
    sessions,
)
