"""The energy ladder as a table: every rung with where it comes from, and what the phases took of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.report.format import ABSENT, headline, number, value_of

_LADDER = ("memory", "gpu", "dram", "cpu", "module", "psys", "node", "rack", "facility")
"""From the narrowest scope to the widest."""
_KINDS = {"counter": "measured", "integral": "measured", "declared": "declared", "modelled": "modelled"}
_PHASES = {"prefill": "prefill", "decode": "decode", "idle": "idle", "tool_wait": "waiting for tools"}


def joules(energy: Mapping[str, Any] | None) -> str:
    """Joules per output token of every scope that was measured or declared, a line each; of modelled ones else."""
    known = [(scope, rung) for scope, rung in _rungs(energy) if rung["joules"] is not None]
    told = [(scope, rung) for scope, rung in known if rung["source"] != "modelled"] or known
    lines = [f"{headline(of['joules_per_output_token'])} {scope}, {_basis(of)}" for scope, of in told]
    return "\n".join(lines) or ABSENT


def print_energy(out: Console, records: Sequence[Mapping[str, Any]]) -> None:
    """A line each rung of each record, and nothing where there is none."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("case", "energy of", "is", "by"):
        table.add_column(name, no_wrap=True)
    for name in ("J/output token", "mean W", "counter/integral", "above idle, J/token"):
        table.add_column(name, justify="right", no_wrap=True)
    for record in records:
        name = record["case"]["spec"]["name"]
        for scope, rung in _rungs(record["energy"]):
            table.add_row(name, scope, *_cells(rung))
            name = ""
    if table.row_count:
        out.print()
        out.print(table)


def energy_lines(energy: Mapping[str, Any] | None) -> Iterator[str]:
    """What modelled rungs are made of, what each phase took, which scopes have no rung, and why there is no joule."""
    for scope, rung in _rungs(energy):
        if rung.get("model") is not None:
            yield f"{scope} is modelled: {escape(rung['model'])}"
    for scope, phases in ((energy or {}).get("phases") or {}).items():
        yield f"phases of {scope}: {_phases(phases)}"
    if missing := value_of(energy, "missing"):
        yield f"no joules: {escape(missing)}"
    elif absent := value_of(energy, "absent"):
        yield f"no joules of {', '.join(absent)}: energy.absent in the record says why"


def _rungs(energy: Mapping[str, Any] | None) -> list[tuple[str, Mapping[str, Any]]]:
    rungs = (energy or {}).get("rungs") or {}
    return sorted(rungs.items(), key=lambda rung: _LADDER.index(rung[0]) if rung[0] in _LADDER else len(_LADDER))


def _basis(rung: Mapping[str, Any]) -> str:
    return str(rung["joules_per_output_token"]["basis"])


def _cells(rung: Mapping[str, Any]) -> list[str]:
    if rung["joules"] is None:
        return ["null", "", ABSENT, ABSENT, number(rung.get("counter_over_integral")), ABSENT]
    kind, basis = _KINDS[rung["source"]], _basis(rung)
    return [
        kind if kind == basis else f"{kind} ({basis})",
        rung["source"] if kind == "measured" else "",
        headline(rung["joules_per_output_token"]),
        number(rung["mean_watts"]),
        number(rung.get("counter_over_integral")),
        headline(value_of(rung, "above_idle", "joules_per_output_token")),
    ]


def _phases(phases: Mapping[str, Any]) -> str:
    if phases["reason"] is not None:
        return f"not told apart: {escape(phases['reason'])}"
    told = {phase: of for phase, of in phases["joules"].items() if of["value"]}
    parts = [f"{_PHASES[phase]} {headline(of)} J" for phase, of in told.items()]
    untold = dict.fromkeys(escape(of["method"]) for of in phases["joules"].values() if of["value"] is None)
    basis = next((of["basis"] for of in told.values()), "measured")
    per_token = [
        f"{headline(phases[name])} J {what}"
        for name, what in (
            ("joules_per_uncached_input_token", "a prompt token computed"),
            ("joules_per_output_token", "of decode an output token"),
        )
        if phases[name]["value"]
    ]
    fineness = phases["resolution"]
    step = "" if fineness["step_s"] is None else f", steps of {number(1000 * fineness['step_s'])} ms"
    cells = f", cells of {number(fineness['cell_s'])} s" if basis != "measured" else ""
    how = "measured" if basis == "measured" else f"modelled ({basis})"
    fine = f"readings every {number(fineness['reading_s'])} s{step}{cells}"
    return f"{', '.join([*parts, *untold, *per_token])}; {how}, {fine}"
