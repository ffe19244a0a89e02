"""What a machine's datasheet says of power, as it enters a record."""

from __future__ import annotations

from bench.core.configs import names
from bench.core.power_figures import PowerFigures, PublishedWatts
from bench.hardware.datasheet import Count, Datasheet, Figure, load_datasheet


def power_figures(hardware: str) -> PowerFigures | None:
    """Of the accelerator `hardware`; None for a CPU and for an accelerator without a datasheet."""
    if hardware not in names("hardware"):
        return None
    sheet = load_datasheet(hardware)
    node, rack, provisioned = sheet.node, sheet.rack, sheet.provisioned_kw
    return PowerFigures(
        datasheet=sheet.name,
        tdp_w=sheet.tdp_w.value,
        node=node and _share(sheet, node.kw, node.kw, node.accelerators),
        rack=rack and _share(sheet, rack.kw_low, rack.kw_high, rack.accelerators),
        facility=provisioned and _share(sheet, provisioned, provisioned),
    )


def _share(sheet: Datasheet, low: Figure, high: Figure, among: Count | None = None) -> PublishedWatts:
    accelerators = 1 if among is None else among.value
    told = dict.fromkeys(_source(sheet, figure) for figure in (low, high))
    return PublishedWatts(1000 * low.value / accelerators, 1000 * high.value / accelerators, "; ".join(told))


def _source(sheet: Datasheet, figure: Figure) -> str:
    remarks = [figure.basis, *([] if figure.note is None else [figure.note])]
    return f"{sheet.sources[figure.source].title} ({', '.join(remarks)})"
