"""A time dealt out to things that are done one after another."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping


def dealt(weights: Mapping[str, float], seconds: float) -> Iterator[tuple[str, float]]:
    """Each name, in order, with its share by weight of what is left of `seconds` when its turn comes.

    What one leaves the later ones have, and what one takes too much they go without.
    """
    end = time.monotonic() + seconds
    left = dict(weights)
    for name, weight in weights.items():
        share = weight / sum(left.values())
        del left[name]
        yield name, share * max(0.0, end - time.monotonic())
