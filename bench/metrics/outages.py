"""When an engine was up and when it was down, from the stretches in which it was watched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

UNANSWERED = "no request was answered"


@dataclass(frozen=True)
class Stretch:
    """Something was asked of the engine from start to end. Seconds since watching began."""

    start_s: float
    """Before the engine was started, and before the wait for that, where it had to be."""
    up_from_s: float | None
    """When it was first seen to answer: its first token after a start, the stretch's start where it went on; None where
    no token came."""
    end_s: float
    gone_s: float | None
    """When nothing was left of an engine that had failed; None of one that had not."""
    failure: str | None
    """What it failed with; `end_s` is when it was last heard."""
    unanswered: tuple[tuple[float, float], ...] = ()
    """From when to when, in order and after `up_from_s`, requests failed and none was answered, until one was again."""
    resumed: bool = False
    """Whether nobody watched before it, so that what was then is not known."""


@dataclass(frozen=True)
class Outage:
    at_s: float
    failure: str
    starts: int
    """How often the engine was started until it answered, or nobody tried any longer; 0 where it came back of itself,
    as endpoints do."""
    down_s: float
    """From the failure to the next first token, without the time in which this program only wrote its records."""
    repaired: bool


@dataclass(frozen=True)
class UpAndDown:
    up_s: float
    outages: tuple[Outage, ...]

    @property
    def repairs_s(self) -> list[float]:
        return [outage.down_s for outage in self.outages if outage.repaired]

    @property
    def unrepaired_s(self) -> list[float]:
        return [outage.down_s for outage in self.outages if not outage.repaired]


def up_and_down(stretches: Iterable[Stretch]) -> UpAndDown:
    """An outage begins where a stretch fails and ends with the next first token, or lies within one that goes on. A
    first start that fails is one too: the engine was asked for. Between stretches, and while it is started as planned,
    an engine is neither up nor down.
    """
    up_s, outages = 0.0, list[Outage]()
    down: _Down | None = None
    for stretch in stretches:
        if down is not None and stretch.resumed:
            outages.append(down.ended(repaired=False))
            down = None
        if down is not None:
            down.starts += 1
            down.down_s += (stretch.end_s if stretch.up_from_s is None else stretch.up_from_s) - stretch.start_s
            if stretch.up_from_s is not None:
                outages.append(down.ended(repaired=True))
                down = None
        if stretch.up_from_s is not None:
            up_s += stretch.end_s - stretch.up_from_s
        for from_s, to_s in stretch.unanswered:
            up_s -= to_s - from_s
            outages.append(Outage(from_s, UNANSWERED, 0, to_s - from_s, repaired=True))
        if stretch.failure is not None:
            down = down or _Down(stretch.end_s, stretch.failure)
            down.down_s += 0.0 if stretch.gone_s is None else stretch.gone_s - stretch.end_s
    if down is not None:
        outages.append(down.ended(repaired=False))
    return UpAndDown(up_s, tuple(outages))


@dataclass
class _Down:
    """An outage that goes on."""

    at_s: float
    failure: str
    starts: int = 0
    down_s: float = 0.0

    def ended(self, *, repaired: bool) -> Outage:
        return Outage(self.at_s, self.failure, self.starts, self.down_s, repaired)
