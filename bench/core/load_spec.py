"""The load section of a suite: when sessions begin."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from bench.core.section import Section, Share

ArrivalProcess = Literal["poisson", "constant"]


class _Load(Section):
    time_scale: NonNegativeFloat = 1.0
    """Multiplies tool and human delays, and the arrivals of `kind: trace`; 0 sends a turn as soon as the one before it
    completed."""
    search: Literal["slo"] | None = None
    """`slo`: vary this load's concurrency or rate and find the highest whose good share meets the SLO."""
    search_precision: Share = 0.05
    """The search ends when what met the SLO and what missed it are this close, relative to the higher."""

    @property
    def open_loop(self) -> bool:
        """Whether sessions begin when they are due, whatever became of the ones before."""
        return not isinstance(self, ClosedLoadSpec)


class ClosedLoadSpec(_Load):
    kind: Literal["closed"]
    concurrency: PositiveInt
    """Sessions alive at once; a session that waits for a tool is alive, a sub-agent is part of its session. Fewer where
    there are not as many and they do not recycle."""
    random_start: bool = False
    """Begin each lane at a random turn of its first session, the prompt before it computed but not measured."""
    recycle: bool = False
    """Send the sessions again, each time under a new salt, until `measure.max_seconds` have passed."""
    seed: NonNegativeInt = 0
    """Of random starts."""


class _OpenLoad(_Load):
    max_sessions: PositiveInt | None = None
    """Most sessions alive at once; later ones are held back and their `hold_ms` is logged. Null holds none back."""
    seed: NonNegativeInt = 0


class ConstantLoadSpec(_OpenLoad):
    """Equal gaps."""

    kind: Literal["constant"]
    sessions_per_s: PositiveFloat


class PoissonLoadSpec(_OpenLoad):
    """Independent exponential gaps."""

    kind: Literal["poisson"]
    sessions_per_s: PositiveFloat


class GammaLoadSpec(_OpenLoad):
    """Independent gamma gaps: burstier than Poisson, or more even."""

    kind: Literal["gamma"]
    sessions_per_s: PositiveFloat
    burstiness: PositiveFloat
    """Shape of the gaps: their CV is 1/sqrt(burstiness). 1 is Poisson; the lower, the burstier."""


class RampLoadSpec(_OpenLoad):
    """A rate that changes evenly, and then stays."""

    kind: Literal["ramp"]
    from_sessions_per_s: NonNegativeFloat
    to_sessions_per_s: PositiveFloat
    ramp_s: PositiveFloat
    process: ArrivalProcess = "poisson"


class RateStep(Section):
    sessions_per_s: NonNegativeFloat
    seconds: PositiveFloat


class StepLoadSpec(_OpenLoad):
    """One rate after another; the last one stays."""

    kind: Literal["step"]
    steps: tuple[RateStep, ...] = Field(min_length=1)
    process: ArrivalProcess = "poisson"


class DiurnalLoadSpec(_OpenLoad):
    """A rate that rises and falls as a sine, once a period."""

    kind: Literal["diurnal"]
    mean_sessions_per_s: PositiveFloat
    peak_to_mean: Annotated[float, Field(ge=1, le=2)] = 1.5
    period_s: PositiveFloat = 86_400.0
    """A day; a shorter one squeezes the day into it."""
    peak_at_s: NonNegativeFloat = 0.0
    """When in the period the rate is highest."""
    process: ArrivalProcess = "poisson"


class TraceLoadSpec(_OpenLoad):
    """Sessions begin when they did in the trace, times `time_scale`."""

    kind: Literal["trace"]


LoadSpec = Annotated[
    ClosedLoadSpec
    | ConstantLoadSpec
    | PoissonLoadSpec
    | GammaLoadSpec
    | RampLoadSpec
    | StepLoadSpec
    | DiurnalLoadSpec
    | TraceLoadSpec,
    Field(discriminator="kind"),
]
