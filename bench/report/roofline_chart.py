"""Shares of the roofline by kernel and problem, drawn: HTML that needs no network, or a PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import InputError
from bench.report.tuning import listed

_BEST, _HEURISTIC = "best schedule", "rule of thumb"
_PIXELS_PER_POINT = 2.0


def draw_roofline(file: Path, device: str, problems: Sequence[Mapping[str, Any]]) -> None:
    """Write the chart of one device; the ending of `file` says as what.

    Raises InputError for another ending, where nothing has a share, and where `file` cannot be written.
    """
    if file.suffix not in (".html", ".png"):
        raise InputError("no such kind of report", where=file, allowed=".html, .png")
    rows = [row for problem in problems for row in _rows(problem)]
    if not rows:
        raise InputError("no measurement has a share of the roofline", where=device)
    specification = _specification(device, rows)

    import vl_convert

    try:
        if file.suffix == ".html":
            file.write_text(vl_convert.vegalite_to_html(specification, bundle=True), encoding="utf-8")
        else:
            file.write_bytes(vl_convert.vegalite_to_png(specification, scale=_PIXELS_PER_POINT))
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=file, allowed="a file") from error


def _rows(problem: Mapping[str, Any]) -> list[dict[str, Any]]:
    shares = {_BEST: problem["roofline_fraction"], _HEURISTIC: problem["heuristic_roofline_fraction"]}
    described = {
        "kernel": problem["kernel"],
        "problem": listed(problem["problem"]),
        "schedule": listed(problem["config"]),
        "median": f"{problem['p50_us']:.3g} us",
        "date": problem["date"],
    }
    return [{**described, "of": of, "share": share} for of, share in shares.items() if share is not None]


def _specification(device: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A panel a kernel, a bar a problem, and a tick where the rule of thumb stands."""
    import altair as alt

    data = alt.Data(values=list(rows))
    across = alt.X("share:Q", title="share of the measured roofline", axis=alt.Axis(format="%"))
    across = across.scale(domain=[0, max(1.0, *(row["share"] for row in rows))])
    down = alt.Y("problem:N", title=None, sort=None, axis=alt.Axis(labelLimit=1200))
    bars = (
        alt.Chart()
        .mark_bar(color="#4c78a8")
        .encode(x=across, y=down, tooltip=["problem:N", "schedule:N", "median:N", "date:N"])
        .transform_filter(alt.datum.of == _BEST)
    )
    figures = bars.mark_text(align="left", dx=4).encode(text=alt.Text("share:Q", format=".0%"))
    ticks = (
        alt.Chart()
        .mark_tick(color="#e45756", thickness=2)
        .encode(x=across, y=down)
        .transform_filter(alt.datum.of == _HEURISTIC)
    )
    title = alt.TitleParams(
        f"Kernels on {device}", subtitle="bar: the best schedule; red: the rule of thumb that runs without tuning"
    )
    chart = (
        alt.layer(bars, figures, ticks, data=data)
        .properties(width=420)
        .facet(
            row=alt.Row(
                "kernel:N",
                title=None,
                header=alt.Header(labelOrient="top", labelAnchor="start", labelFontWeight="bold"),
            )
        )
        .resolve_scale(y="independent")
        .properties(title=title)
    )
    specification: dict[str, Any] = chart.to_dict()
    return specification
