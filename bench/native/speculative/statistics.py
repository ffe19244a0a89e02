"""What speculation did in a run, for the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class SpeculationStatistics:
    """Grows with each step."""

    verifications: int = 0
    """Verified requests, summed over steps: each had one draft or more."""
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    drafting_ns: int = 0
    steps_ns: int = 0
    """Of all steps, with or without drafts, drafting included."""

    def count_request(self, drafted: int, accepted: int) -> None:
        """One request of a step, whether or not anything was drafted for it."""
        self.verifications += drafted > 0
        self.drafted_tokens += drafted
        self.accepted_tokens += accepted

    def count_step(self, duration_ns: int, drafting_ns: int) -> None:
        self.steps_ns += duration_ns
        self.drafting_ns += drafting_ns

    def describe(self) -> dict[str, Any]:
        """As it goes into the record; a mean over nothing is null.

        `acceptance_length` is the mean number of tokens a verified request got from one step, the one that is not a
        draft included. `most_gain` is what that makes of the decode speed if verifying costs no more than a plain step:
        what it really gained, only the same case without speculation can tell.
        """
        length = 1 + self.accepted_tokens / self.verifications if self.verifications else None
        share = self.drafting_ns / self.steps_ns if self.steps_ns else None
        return {
            "verifications": self.verifications,
            "drafted_tokens": self.drafted_tokens,
            "accepted_tokens": self.accepted_tokens,
            "acceptance_rate": self.accepted_tokens / self.drafted_tokens if self.drafted_tokens else None,
            "acceptance_length": length,
            "drafting_time_share": share,
            "most_gain": None if length is None or share is None else length * (1 - share),
        }
