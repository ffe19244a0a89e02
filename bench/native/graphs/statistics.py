"""What graphs did in a run: which steps ran in them, what padding cost, and why others ran without."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from bench.native.graphs.dispatcher import Decision


@dataclass(slots=True)
class StepCounts:
    """Counts over decisions."""

    modes: Counter[str] = field(default_factory=Counter)
    graph_keys: Counter[str] = field(default_factory=Counter)
    eager_reasons: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    """Tokens that were asked for."""
    padding_tokens: int = 0

    def add(self, decision: Decision, tokens: int) -> None:
        """Count a step of `tokens` tokens that ran as `decision` says."""
        self.modes[decision.mode] += 1
        self.graph_keys[decision.graph_key] += 1
        if decision.reason is not None:
            self.eager_reasons[decision.reason] += 1
        self.tokens += tokens
        self.padding_tokens += decision.key.tokens - tokens

    def summary(self) -> dict[str, Any]:
        """In plain values; shares are null where nothing ran."""
        steps, computed = self.modes.total(), self.tokens + self.padding_tokens
        return {
            "steps": steps,
            "share_of_steps": {mode: count / steps for mode, count in sorted(self.modes.items())},
            "steps_by_graph": dict(sorted(self.graph_keys.items())),
            "padding_tokens": self.padding_tokens,
            "padding_share": self.padding_tokens / computed if computed else None,
            "eager_reasons": dict(sorted(self.eager_reasons.items())),
        }
