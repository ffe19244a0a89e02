"""A node on a terminal: its facts section by section, those that its devices share once, and why others are missing."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from bench.report.console import console
from bench.report.format import ABSENT, number

_MISSING = "missing"
_NUMBERED = re.compile(r"([a-z]+)\d+")
_LEAST_TEXT = 24
"""Columns that a fact has beside its name, however narrow the terminal."""
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
        _print_lines(out, list(node_lines(facts)))


def node_lines(facts: Mapping[str, Any]) -> Iterator[Line]:
    """The facts of one thing. What lies deeper has its place before its name: `hugepages.2048kB`."""
    missing = facts.get(_MISSING) or {}
    numbered = _numbered(facts)
    for name, value in facts.items():
        if name == _MISSING:
            continue
        if alike := numbered.get(name):
            if name == alike[0]:  # all of a kind are told where the first one stands
                yield from _alike(name.rstrip("0123456789"), alike, [facts[one] for one in alike])
        elif not value and name in missing:
            yield Line(name, missing[name], told=False)
        elif value is None:
            continue  # a remark that there is not
        elif isinstance(value, Mapping):
            yield from _beneath(name, node_lines(value))
        elif isinstance(value, Sequence) and value and isinstance(value[0], Mapping):
            names = [str(device.get("device", f"gpu{index}")) for index, device in enumerate(value)]
            yield from _devices(name, names, value)
        else:
            yield Line(name, _text(name, value))
    yield from (Line(name, reason, told=False) for name, reason in missing.items() if name not in facts)


def _numbered(facts: Mapping[str, Any]) -> dict[str, list[str]]:
    """For each name of a device that has others of its kind beside it, `gpu0`: all of that kind."""
    kinds: dict[tuple[str, type], list[str]] = {}
    for name, value in facts.items():
        if isinstance(value, dict | str) and (numbered := _NUMBERED.fullmatch(name)):
            kinds.setdefault((numbered[1], type(value)), []).append(name)
    return {name: names for names in kinds.values() if len(names) > 1 for name in names}


def _alike(kind: str, names: Sequence[str], values: Sequence[Any]) -> Iterator[Line]:
    if isinstance(values[0], str):
        yield Line(kind, _by_device(zip(values, names, strict=True)))
    else:
        yield from _devices(kind, names, values)


def _print_lines(out: Console, lines: Sequence[Line]) -> None:
    """Names in one column, and what is longer than the terminal is wide broken within the other."""
    beside = max((len(line.name) for line in lines), default=0) + 4
    width = max(_LEAST_TEXT, Console().width - beside) if out.is_terminal else None
    for line in lines:
        text = line.text if line.told else f"{ABSENT} {line.text}"
        first, *more = [text] if width is None else textwrap.wrap(text, width) or [""]
        out.print(
            Text(f"  {line.name:<{beside - 4}}  "),
            Text("\n".join([first, *(" " * beside + one for one in more)]), style="" if line.told else "dim"),
            sep="",
            soft_wrap=True,
        )


def _beneath(name: str, inner: Iterable[Line]) -> Iterator[Line]:
    """The lines of a section of its own, or one for it all where nothing in it is told, for one reason."""
    lines = list(inner)
    reasons = {line.text for line in lines if not line.told}
    if len(reasons) == 1 and not any(line.told for line in lines):
        yield Line(name, lines[0].text, told=False)
    else:
        yield from (Line(f"{name}.{line.name}", line.text, line.told) for line in lines)


def _devices(kind: str, names: Sequence[str], devices: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    """Each fact once where all devices agree, and otherwise by what they say: `650 (gpu0 gpu1), 700 (gpu2)`."""
    yield Line(kind, f"{len(names)}: {', '.join(names)}")
    said: dict[str, list[tuple[Line, str]]] = {}
    for name, device in zip(names, devices, strict=True):
        for line in node_lines(device):
            if line.name != "device":
                said.setdefault(line.name, []).append((line, name))
    for fact, sayings in said.items():
        line = sayings[0][0]
        if len(sayings) == len(names) and all(other == line for other, _ in sayings):
            yield Line(f"  {fact}", line.text, line.told)
        else:
            yield Line(f"  {fact}", _by_device((line.text, name) for line, name in sayings))


def _by_device(said: Iterable[tuple[str, str]]) -> str:
    names: dict[str, list[str]] = {}
    for text, name in said:
        names.setdefault(text, []).append(name)
    return ", ".join(f"{text} ({' '.join(of)})" for text, of in names.items())


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
