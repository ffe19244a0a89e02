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
    node, rack, duty = sheet.node, sheet.rack, sheet.power_sensor_duty
    return PowerFigures(
        datasheet=hardware,
        tdp_w=sheet.tdp_w.value,
        node=None if node is None else _share(sheet, node.accelerators, node.kw, node.kw),
        rack=None if rack is None else _share(sheet, rack.accelerators, rack.kw_low, rack.kw_high),
        sensor_duty=None if duty is None else duty.value,
    )


def _share(sheet: Datasheet, among: Count, low: Figure, high: Figure) -> PublishedWatts:
    told = dict.fromkeys(_told(sheet, figure) for figure in (low, high))
    return PublishedWatts(
        low=1000 * low.value / among.value,
        high=1000 * high.value / among.value,
        basis="assumed" if "assumed" in (low.basis, high.basis) else "published",
        source="; ".join(told),
    )


def _told(sheet: Datasheet, figure: Figure) -> str:
    title = sheet.sources[figure.source].title
    return title if figure.note is None else f"{figure.note}: {title}"
