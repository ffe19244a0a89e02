"""A node on a terminal: its facts section by section, those that its devices share once, and why others are missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from bench.report.console import console
from bench.report.format import ABSENT, number

_MISSING = "missing"
_UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


@dataclass(frozen=True, slots=True)
class Line:
    """One fact, or what several have in common."""

    name: str
    text: str
    told: bool = True
    """Whether `text` is the fact, or the reason why there is none."""


def print_node(node: Mapping[str, Any]) -> None:
    """The hardware in a line, then every section. `node` is as `bench node show --json` prints it."""
    out = console()
    hardware = node["hardware"]
    out.print(f"{hardware['units']} × {hardware['key']}, priced by the {hardware['unit']}", style="bold", markup=False)
    for section, facts in node.items():
        if section == "hardware":
            continue
        out.print()
        out.print(section, style="bold", markup=False)
        out.print(_table(node_lines(facts)))


def node_lines(facts: Mapping[str, Any]) -> Iterator[Line]:
    """The facts of one thing. What lies deeper has its place before its name: `hugepages.2048kB`."""
    missing = facts.get(_MISSING) or {}
    for name, value in facts.items():
        if name == _MISSING:
            continue
        if value is None:
            yield Line(name, missing.get(name, ""), told=False)
        elif isinstance(value, Mapping):
            yield from _beneath(name, node_lines(value))
        elif _is_devices(value):
            yield Line(name, f"{len(value)}: {', '.join(_names(value))}")
            yield from _shared(_names(value), [list(node_lines(device)) for device in value])
        elif not value and name in missing:
            yield Line(name, missing[name], told=False)
        else:
            yield Line(name, _text(name, value))
    yield from (Line(name, reason, told=False) for name, reason in missing.items() if name not in facts)


def _table(lines: Iterable[Line]) -> Table:
    table = Table.grid(padding=(0, 2), pad_edge=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for line in lines:
        table.add_row(line.name, Text(line.text) if line.told else Text(f"{ABSENT} {line.text}", style="dim"))
    return table


def _beneath(name: str, inner: Iterable[Line]) -> Iterator[Line]:
    """The lines of a section of its own, or one for it all where nothing in it is told, for one reason."""
    lines = list(inner)
    reasons = {line.text for line in lines if not line.told}
    if len(reasons) == 1 and not any(line.told for line in lines):
        yield Line(name, *reasons, told=False)
    else:
        yield from (Line(f"{name}.{line.name}", line.text, line.told) for line in lines)


def _is_devices(value: Any) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(isinstance(one, Mapping) for one in value)


def _names(devices: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the tables of power and health call them: GPUs by their number, others by their own names."""
    return [str(device.get("device", f"gpu{index}")) for index, device in enumerate(devices)]


def _shared(names: Sequence[str], devices: Sequence[Sequence[Line]]) -> Iterator[Line]:
    """Each fact once where all devices agree, and otherwise by what they say: `650 (gpu0, gpu1), 700 (gpu2)`."""
    order = dict.fromkeys(line.name for lines in devices for line in lines)
    for fact in order:
        said: dict[Line, list[str]] = {}
        for name, lines in zip(names, devices, strict=True):
            for line in lines:
                if line.name == fact:
                    said.setdefault(line, []).append(name)
        if len(said) == 1 and fact != "device":
            (line,) = said
            yield Line(f"  {fact}", line.text, line.told)
        elif fact != "device":
            yield Line(f"  {fact}", ", ".join(f"{line.text} ({' '.join(of)})" for line, of in said.items()))


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _bytes(value) if name.endswith("_bytes") else _number(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _number(value: float) -> str:
    # As it is told: in groups of three, a number of processors or a model's would be read wrong.
    return str(int(value)) if value == int(value) else number(value, 6)


def _bytes(size: float) -> str:
    for unit, name in _UNITS:
        if size >= unit:
            return f"{number(size / unit, 4)} {name}"
    return f"{size:g} bytes"
