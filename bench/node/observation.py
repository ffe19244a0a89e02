"""What is observed of one device again and again, and why some of it is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.node.facts import AbsentError


@dataclass(frozen=True)
class Observation:
    """Figures that are read together, each with its unit in its name."""

    names: tuple[str, ...]
    read: Callable[[], Sequence[float | AbsentError]]
    """One answer a name; may raise AbsentError for all of them."""


def single(name: str, read: Callable[[], float]) -> Observation:
    """An observation of one figure; `read` may raise AbsentError."""
    return Observation((name,), lambda: (float(read()),))


class ObservedDevice:
    """One device of the health table.

    What it does not tell when it is first read is null once, with the reason in `missing`, and left out from then on.
    What is lost later is null each time.
    """

    def __init__(self, device: str, observations: Sequence[Observation]) -> None:
        self.device = device
        self.missing: dict[str, str] = {}
        """By name: why it was last null."""
        self._observations = list(observations)
        self._told: set[str] | None = None

    def read(self) -> dict[str, float | None]:
        """The figures by name; None for what is not told."""
        answers = [(one, _answers(one)) for one in self._observations]
        figures = {name: answer for one, told in answers for name, answer in zip(one.names, told, strict=True)}
        self.missing |= {name: str(answer) for name, answer in figures.items() if isinstance(answer, AbsentError)}
        values = {name: None if isinstance(answer, AbsentError) else float(answer) for name, answer in figures.items()}
        if self._told is None:
            self._told = {name for name, value in values.items() if value is not None}
            self._observations = [one for one in self._observations if self._told & set(one.names)]
            return values
        return {name: value for name, value in values.items() if name in self._told}


def _answers(one: Observation) -> Sequence[float | AbsentError]:
    try:
        return one.read()
    except AbsentError as absent:
        return [absent] * len(one.names)
    except (ValueError, IndexError) as error:  # a kernel's own way of writing it costs a figure, not the run
        return [AbsentError(f"it is not told as expected: {error}")] * len(one.names)
