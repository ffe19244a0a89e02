"""Whether a configuration may be said to run its model: what may be lost to each precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.core.work import AccuracyFigures

Status = Literal["passed", "failed", "not_applicable"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """The most that may be lost. Chosen, not derived: what works stays well inside, and what is broken far out."""

    kl_mean: float
    top1_agreement: float
    """The least share."""
    perplexity_difference: float
    """Upwards; a perplexity below the reference's is no fault."""


THRESHOLDS: dict[str, Threshold] = {
    "float32": Threshold(1e-4, 0.99, 0.001),
    "bfloat16": Threshold(0.02, 0.92, 0.02),
    "float16": Threshold(0.02, 0.92, 0.02),
    "int8": Threshold(0.05, 0.88, 0.03),
    "fp8": Threshold(0.10, 0.85, 0.05),
    "mxfp4": Threshold(0.50, 0.70, 0.30),
    "nvfp4": Threshold(0.40, 0.70, 0.25),
}
"""By the coarsest format of weights, activations and KV cache, from fine to coarse but for the last two."""
UNTOLD = "an untold precision"
"""Of an engine that does not say what it computes in, or names a format that is not among these. It is held to the
widest threshold there is: to fail that is to be broken in any precision, and to pass says that it is the same model and
not how well it was kept."""
_UNROUNDED = ("dense", "auto", "None")
"""What an engine says of weights or cache that are in its dtype."""


@dataclass(frozen=True)
class Accuracy:
    """The accuracy section of a record."""

    status: Status
    reason: str | None = None
    """Why it failed, or why it was not checked."""
    precision: str | None = None
    threshold: Threshold | None = None
    figures: AccuracyFigures | None = None


def judge(engine: Mapping[str, Any]) -> Accuracy:
    """The accuracy of an engine from what it says of itself (`Engine.describe`)."""
    checked = engine.get("accuracy") or {}
    if "figures" not in checked:
        return Accuracy("not_applicable", checked.get("reason", "no reference was run beside this engine"))
    figures = AccuracyFigures(**checked["figures"])
    precision = _coarsest(engine)
    threshold = _widest() if precision == UNTOLD else THRESHOLDS[precision]
    wrong = list(_wrong(figures, threshold))
    return Accuracy("failed" if wrong else "passed", "; ".join(wrong) or None, precision, threshold, figures)


def _coarsest(engine: Mapping[str, Any]) -> str:
    formats = [str(engine.get(key)) for key in ("dtype", "kv_dtype", "weight_format")]
    named = ["fp8" if name.startswith(("float8", "fp8")) else name for name in formats]
    told, order = [name for name in named if name not in _UNROUNDED], list(THRESHOLDS)
    if named[0] in _UNROUNDED or any(name not in order for name in told):
        return UNTOLD
    return max(told, key=order.index)


def _widest() -> Threshold:
    every = THRESHOLDS.values()
    return Threshold(
        kl_mean=max(one.kl_mean for one in every),
        top1_agreement=min(one.top1_agreement for one in every),
        perplexity_difference=max(one.perplexity_difference for one in every),
    )


def _wrong(figures: AccuracyFigures, threshold: Threshold) -> list[str]:
    perplexity = 0.0 if figures.perplexity_tokens == 0 else figures.perplexity_difference
    if figures.kl_mean is None or perplexity is None:
        return ["some logits are not numbers"]
    wrong = []
    if figures.kl_mean > threshold.kl_mean:
        wrong.append(f"KL {figures.kl_mean:.3g} nats a token is more than {threshold.kl_mean:g}")
    if figures.top1_agreement < threshold.top1_agreement:
        wrong.append(f"top-1 agreement {figures.top1_agreement:.3f} is less than {threshold.top1_agreement:g}")
    if perplexity > threshold.perplexity_difference:
        wrong.append(f"perplexity is {perplexity:+.3g} of the reference's, over {threshold.perplexity_difference:g}")
    return wrong
