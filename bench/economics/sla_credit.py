"""What an SLA credits in a month, from the availability that a soak saw.

Outages are taken to come at random (Poisson), each of exponential length with the mean d that was seen. Time down in
a month of H hours is then a compound Poisson sum. N outages, a Poisson count of mean (1 - A) H / d, last longer than x
together when fewer than N events of rate 1/d fall within x: a comparison of two Poisson counts, which the noncentral
chi-square distribution decides (Johnson 1959, "On an extension of the connexion between Poisson and chi-square
distributions", Biometrika 46).

E[credit] = fee * sum_j P(the month's availability is in tier j) c_j, claimed as often as is said.
"""

from __future__ import annotations

from itertools import pairwise

from scipy.special import chndtr

from bench.core.units import HOURS_PER_YEAR
from bench.offers.sla import CreditTier, Sla

HOURS_PER_MONTH = HOURS_PER_YEAR / 12


def expected_credit_share(sla: Sla, availability: float, mean_outage_h: float | None) -> tuple[float, float]:
    """The share of a month's cost that is credited in the mean: least and most, where the SLA leaves that open.

    Without a mean outage, `mean_outage_h` None, every month is taken to be as available as the mean.
    """
    reached = [*(_chance_below(float(tier.below), availability, mean_outage_h) for tier in sla.tiers), 0.0]
    cap = 1.0 if sla.cap_share is None else float(sla.cap_share)
    least = most = 0.0
    for tier, (here_or_deeper, deeper) in zip(sla.tiers, pairwise(reached), strict=True):
        low, high = _credits(tier)
        least += (here_or_deeper - deeper) * min(low, cap)
        most += (here_or_deeper - deeper) * min(high, cap)
    return least, most


def _credits(tier: CreditTier) -> tuple[float, float]:
    low = float(tier.credit_share)
    return low, low if tier.credit_share_up_to is None else float(tier.credit_share_up_to)


def _chance_below(below: float, availability: float, mean_outage_h: float | None) -> float:
    """The chance that a month is available for less than the share `below` of it."""
    if mean_outage_h is None or availability == 1:
        return float(availability < below)
    outages = (1 - availability) * HOURS_PER_MONTH / mean_outage_h
    fitting = (1 - below) * HOURS_PER_MONTH / mean_outage_h
    return float(chndtr(2 * outages, 2, 2 * fitting))
