"""What a run is billed for when it used less than the block an offer sells."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from bench.economics.price import UnitPrice
from bench.offers.offer import Contract, Offer, Price, Unit


@dataclass(frozen=True, slots=True)
class Bill:
    """Pieces of hardware used and billed, and what the billed ones cost an hour."""

    used: int
    billed: int
    per_hour: UnitPrice


def sells_piece(offer: Offer, measured_unit: Unit) -> bool:
    """Whether an offer counts the pieces a group counts: whole nodes, or accelerators alone or several to a node."""
    if measured_unit == "node":
        return offer.unit == "node" and offer.count == 1
    return offer.unit == "accelerator" or offer.count > 1


def bill(offer: Offer, asked: Price | Contract, price: UnitPrice, used: int) -> Bill:
    """The bill for `used` pieces: whole units, in whole minimum blocks where the price has them."""
    block = asked.minimum_block if isinstance(asked, Price) else 1
    units = ceil(ceil(used / offer.count) / block) * block
    return Bill(used, units * offer.count, UnitPrice(units * price.low, units * price.high, price.method, price.basis))
