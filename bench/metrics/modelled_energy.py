"""Rungs of the energy ladder that nobody metered, from what is published of the machine.

node, rack = what its accelerators were measured to use + accelerators used · (published watts / accelerators − TDP)
facility   = rack, or node where there is no rack, · PUE

The published watts are the most a node or rack draws, so what is left of them beside the accelerators is an upper bound
of hosts, switches, fans and supplies. An accelerator is charged its equal share of that; accelerators that the engine
did not use are left out with theirs, as if they served others. Where no accelerator was read, the whole published share
stands for it, busy or not. Without a PUE there is no facility: nothing stands for one that was not given.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from bench.core.power_figures import PowerFigures, PublishedWatts
from bench.core.records import Basis
from bench.metrics.columns import Floats


@dataclass(frozen=True)
class KnownEnergy:
    """Joules of a scope in each slice of the window, (slices,) each. Its bounds are the same where it was metered."""

    low: Floats
    high: Floats
    basis: Basis

    @property
    def middle(self) -> Floats:
        return (self.low + self.high) / 2


@dataclass(frozen=True)
class ModelledEnergy(KnownEnergy):
    model: str
    """How it was made up, and from what."""


@dataclass(frozen=True)
class Surroundings:
    """What is known of what the accelerators stand in."""

    figures: PowerFigures | None
    """None where the machine has no datasheet."""
    accelerators: int
    """That were read, or that the engine used; 0 on a CPU."""
    pue: float | None


def modelled_rungs(
    known: Mapping[str, KnownEnergy], taken: Collection[str], around: Surroundings, seconds: Floats
) -> tuple[dict[str, ModelledEnergy], dict[str, str]]:
    """The rungs `node`, `rack` and `facility` that are not `taken`, and why others cannot be modelled.

    A rung may be taken and not `known`: what was read and cannot be trusted is not made up. `seconds` is the length of
    each slice, (slices,).
    """
    rungs: dict[str, ModelledEnergy] = {}
    why_not: dict[str, str] = {}
    figures = around.figures
    shares = {"node": None, "rack": None} if figures is None else {"node": figures.node, "rack": figures.rack}
    for scope, share in shares.items():
        if scope in taken:
            continue
        if around.accelerators == 0:
            why_not[scope] = "not modelled: no accelerator was used"
        elif figures is None or share is None:
            why_not[scope] = f"not modelled: no datasheet of this machine says what its {scope} draws"
        else:
            rungs[scope] = _with_what_is_around(known.get("gpu"), figures, share, around.accelerators, seconds)
    if "facility" not in taken:
        base = next((scope for scope in ("rack", "node") if scope in known or scope in rungs), None)
        if around.pue is None:
            why_not["facility"] = "not modelled: no PUE is given (power.pue)"
        elif base is None:
            why_not["facility"] = "not modelled: neither rack nor node is known"
        else:
            rungs["facility"] = _with_overhead(base, {**rungs, **known}[base], around.pue)
    return rungs, why_not


def _with_what_is_around(
    gpu: KnownEnergy | None, figures: PowerFigures, share: PublishedWatts, accelerators: int, seconds: Floats
) -> ModelledEnergy:
    used = accelerators * seconds
    most = f"{_watts(share.low, share.high)} an accelerator, at most ({share.source})"
    if gpu is None:
        return ModelledEnergy(share.low * used, share.high * used, share.basis, most)
    low, high = share.low - figures.tdp_w, share.high - figures.tdp_w
    assumed = "assumed" in (gpu.basis, share.basis)
    return ModelledEnergy(
        low=gpu.low + low * used,
        high=gpu.high + high * used,
        basis="assumed" if assumed else "projected",
        model=f"gpu + {_watts(low, high)} an accelerator used: {most} less its TDP of {figures.tdp_w:g} W",
    )


def _with_overhead(scope: str, base: KnownEnergy, pue: float) -> ModelledEnergy:
    return ModelledEnergy(
        low=base.low * pue,
        high=base.high * pue,
        basis="assumed" if base.basis == "assumed" else "projected",
        model=f"{scope} · declared PUE of {pue:g}",
    )


def _watts(low: float, high: float) -> str:
    return f"{low:.4g} W" if low == high else f"{low:.4g} to {high:.4g} W"
