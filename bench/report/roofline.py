"""One line on how near a run came to its machine, and one on how near to its model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.markup import escape

from bench.core.work import WHOLE_DISTRIBUTIONS


def machine_and_model(record: Mapping[str, Any]) -> Iterator[str]:
    """What the roofline and the accuracy sections of a record come to."""
    roofline, accuracy = record["roofline"], record["accuracy"] or {}
    if roofline is not None:
        phases = [f"{phase} {_shares(values)}" for phase, values in roofline["phases"].items()]
        waited = roofline["host_share"]["value"]
        phases += [] if waited is None else [f"the device waited for the host {waited:.0%} of the time"]
        yield f"roofline: {'; '.join(phases)}"
        if roofline["over_one"]:
            yield f"[red]over one[/red]: {', '.join(roofline['over_one'])}, so that ceiling is none"
    figures = accuracy.get("figures")
    if figures is not None and accuracy["status"] == "passed":
        yield f"accuracy passed as {accuracy['precision']}: {_nearness(figures)}"


def _nearness(figures: Mapping[str, Any]) -> str:
    bounds = figures.get("told", WHOLE_DISTRIBUTIONS) != WHOLE_DISTRIBUTIONS
    perplexity = figures["perplexity_difference"]
    told = [
        f"KL {'at least ' if bounds else ''}{figures['kl_mean']:.2g} nats a token",
        f"the same top token {figures['top1_agreement']:.1%}",
        *([] if perplexity is None else [f"perplexity {perplexity:+.2%}"]),
        f"against {escape(figures['reference'])}",
    ]
    return ", ".join(told) + (f" (of {escape(figures['told'])})" if bounds else "")


def _shares(values: Mapping[str, Any]) -> str:
    """MBU and MFU against every ceiling there is."""
    told = []
    for suffix, of in (("", "datasheet"), ("_of_measured", "measured")):
        if f"mbu{suffix}" in values:
            bandwidth, peak = values[f"mbu{suffix}"]["value"], values[f"mfu{suffix}"]["value"]
            told.append(f"MBU {bandwidth:.0%} MFU {peak:.0%} of {of}")
    return ", ".join(told)
