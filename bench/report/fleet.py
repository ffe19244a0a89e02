"""Nodes of one SKU beside one another: what differs in how they are set, and whose figures lie outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from bench.report.console import console
from bench.report.format import ABSENT, number
from bench.report.measured import quantity

_Row = Mapping[str, Any]


def print_fleet(skus: Sequence[_Row]) -> None:
    """Each SKU: settings that differ, figures with their spread, outliers. `skus` is as `--json` prints it."""
    out = console()
    for index, sku in enumerate(skus):
        if index:
            out.print()
        out.print(
            f"{sku['hardware']}: {len(sku['nodes'])} nodes: {', '.join(sku['nodes'])}", style="bold", markup=False
        )
        for remark in _remarks(sku):
            out.print(f"  {remark}", markup=False, soft_wrap=True)
        if sku["facts"]:
            out.print(_facts_table(sku["facts"]))
        if sku["figures"]:
            out.print(_figures_table(sku["figures"]))
        for line in outlier_lines(sku["outliers"]):
            out.print(line, style="red", markup=False, soft_wrap=True)


def _remarks(sku: _Row) -> Iterator[str]:
    for fact, (theirs, usual) in sku["unlike"].items():
        yield f"another SKU than the largest group: {fact} {_value(theirs)}, not {_value(usual)}"
    for names in sku["same_machine"]:
        yield f"{' and '.join(names)} are one machine, which counts {len(names)} times"
    if len(sku["nodes"]) == 1:
        yield "the only one of its kind here: nothing to compare it with"
        return
    if not sku["facts"]:
        yield "every fact of the fingerprint is the same"
    if not sku["figures"]:
        yield "no measured figures of two nodes: `bench node show --json --measure` takes them"
    for reason in dict.fromkeys(figure["why_no_outliers"] for figure in sku["figures"]):
        if reason is not None:
            yield reason


def _facts_table(facts: Sequence[_Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("fact that differs", "kind", "most", "odd"):
        table.add_column(name, overflow="fold")
    for fact in facts:
        most = fact["majority"]
        usual = "no majority" if most is None else f"{_told(most)} ({len(most['places'])} of {fact['of']})"
        odd = "; ".join(f"{_told(value)} on {_places(value['places'])}" for value in fact["odd"])
        table.add_row(*map(_plain, (_named(fact), fact["kind"], usual, odd)))
    return table


def _figures_table(figures: Sequence[_Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("figure", overflow="fold")
    for name in ("n", "median", "least", "most", "spread", "of one"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in dict.fromkeys(figure["name"] for figure in figures):
        table.add_row(*_figure_cells(name, [figure for figure in figures if figure["name"] == name]))
    table.caption = "spread: robust standard deviation among nodes; of one: of the trials on one node"
    table.caption_justify = "left"
    return table


def _figure_cells(name: str, of_devices: Sequence[_Row]) -> Iterator[str]:
    """A figure over the whole SKU; where devices are compared apart, over all of them."""
    medians = [figure["median"] for figure in of_devices]
    apart = f" of {len(of_devices)} devices" if len(of_devices) > 1 else ""
    yield _plain(name + apart)
    yield " or ".join(map(str, sorted({figure["n"] for figure in of_devices})))
    yield " to ".join(dict.fromkeys((quantity(name, min(medians)), quantity(name, max(medians)))))
    yield quantity(name, min(figure["least"] for figure in of_devices))
    yield quantity(name, max(figure["most"] for figure in of_devices))
    for sigma in ("sigma", "own_sigma"):
        shares = [figure[sigma] / figure["median"] for figure in of_devices if figure["median"]]
        yield f"{max(shares):.1%}" if shares else ABSENT


def outlier_lines(outliers: Sequence[_Row]) -> Iterator[str]:
    """A line a node and figure: which, how far out, and the odd facts beside it."""
    together: dict[tuple[str, str, bool], list[_Row]] = {}
    for row in outliers:
        together.setdefault((row["outlier"]["node"], row["figure"], row["outlier"]["worse"]), []).append(row)
    for (node, figure, worse), rows in together.items():
        devices = [row["outlier"]["device"] for row in rows if row["outlier"]["device"] is not None]
        values = sorted({quantity(figure, row["outlier"]["value"]) for row in rows})
        medians = sorted({quantity(figure, row["median"]) for row in rows})
        odd = dict.fromkeys(_odd(fact) for row in rows for fact in row["beside"])
        yield (
            f"{node}{' ' if devices else ''}{', '.join(devices)}: {figure} {' and '.join(values)} where the median of "
            f"{rows[0]['n']} is {' and '.join(medians)}{'' if worse else ', which is better'}"
            f"{''.join(f'; {fact}' for fact in odd)}"
        )


def _odd(fact: _Row) -> str:
    return f"{fact['name'].rpartition('.')[2]} {_value(fact['value'])} where most have {_value(fact['majority'])}"


def _named(row: _Row) -> str:
    return str(row["name"]) if row["device"] is None else f"{row['name']} of {row['device']}"


def _told(value: _Row) -> str:
    return _value(value["value"]) if value["why_missing"] is None else f"not told ({value['why_missing']})"


def _places(places: Sequence[_Row]) -> str:
    """Nodes, each with its devices in brackets where they tell for themselves."""
    devices: dict[str, list[str]] = {}
    for place in places:
        devices.setdefault(place["node"], []).extend([place["device"]] if place["device"] else [])
    return ", ".join(f"{node} ({', '.join(of)})" if of else node for node, of in devices.items())


def _value(value: Any) -> str:
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or "none"
    return number(value, 6) if isinstance(value, float) else str(value)


def _plain(text: str) -> str:
    """Without meaning to rich."""
    return text.replace("[", "\\[")
