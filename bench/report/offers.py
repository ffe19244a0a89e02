"""Offers on a terminal: a line each, or one whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from bench.report.console import console
from bench.report.format import ABSENT, number

_FACTS = ("hardware", "unit", "count", "region", "residency", "available", "quoted", "valid_until", "confidence")


def print_offers(offers: Sequence[Mapping[str, Any]]) -> None:
    """A line a term: what it asks, when it was quoted and how sure that is."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("offer", no_wrap=True)
    table.add_column("provider")
    table.add_column("hardware")
    table.add_column("term")
    table.add_column("price", justify="right")
    table.add_column("quoted", no_wrap=True)
    table.add_column("confidence")
    for offer in offers:
        for term, price in _terms(offer):
            hardware = f"{offer['count']} x {offer['hardware']}" if offer["count"] > 1 else offer["hardware"] or ABSENT
            table.add_row(
                offer["id"],
                escape(offer["provider"]),
                hardware,
                escape(term),
                price,
                str(offer["quoted"]),
                offer["confidence"],
            )
    console().print(table)


def print_offer(offer: Mapping[str, Any]) -> None:
    """Where an offer comes from, what it asks, and what its hours cost after prepayment and discounting."""
    out = console()
    out.print(f"[bold]{offer['id']}[/bold]: {escape(offer['provider'])}, {offer['kind']}")
    for name in _FACTS:
        if offer[name] is not None:
            out.print(f"  {name.replace('_', ' ')}: {offer[name]}", markup=False)
    source = offer["source"]
    published = f", published {source['published']}" if source["published"] else ""
    out.print(f"  source: {source['text']} (read {source['read']}{published})", markup=False)
    if source["url"]:
        out.print(f"  {source['url']}", markup=False, soft_wrap=True)
    if offer["notes"]:
        out.print(f"  {offer['notes']}", markup=False)
    if offer["sla"] is not None:
        for line in _promise_lines(offer["sla"]):
            out.print(f"  {line}", markup=False, soft_wrap=True)
    for term, price in _terms(offer):
        out.print(f"  {term}: {price}", markup=False)
    for effective in offer["effective"]:
        for line in _contract_lines(effective):
            out.print(f"    {line}", markup=False)


def _promise_lines(sla: Mapping[str, Any]) -> Iterator[str]:
    covered = f" of {sla['covers']}" if sla["covers"] else ""
    yield f"SLA: {float(sla['promised']):.6g} of a month promised{covered} ({sla['confidence']} confidence)"
    for tier in sla["tiers"]:
        most = tier["credit_share_up_to"]
        share = f"{float(tier['credit_share']):.0%}" + (f" to {float(most):.0%}" if most else "")
        yield f"  below {float(tier['below']):.6g}: {share} of the month's cost credited"
    if not sla["tiers"]:
        yield "  what is credited is not known"
    if sla["cap_share"] is not None:
        yield f"  at most {float(sla['cap_share']):.0%} of the month's cost"
    if sla["claim_needed"]:
        yield "  only if claimed" + (
            f", within {sla['claim_days']} days of the month's end" if sla["claim_days"] else ""
        )
    for exclusion in sla["exclusions"]:
        yield f"  not counted: {exclusion}"
    yield f"  source: {sla['source']['text']}"


def _terms(offer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each term with its price; an offer without terms is listed as unpriced."""
    currency = "$" if offer["currency"] == "USD" else f"{offer['currency']} "
    unit = "GPU" if offer["unit"] == "accelerator" else offer["unit"]
    for effective in offer["effective"]:
        ends = effective["undiscounted_per_unit_hour"]
        yield effective["term"], f"{currency}{_range(ends, 4)}/{unit}-h ({effective['basis']})"
    for term in offer["terms"]:
        if tokens := term["tokens"]:
            asked = [f"{float(tokens[kind]):g} {kind}" for kind in ("input", "output")]
            if tokens["cached_input"] is not None:
                asked.insert(1, f"{float(tokens['cached_input']):g} cached")
            yield f"tokens, {tokens['model']}, {tokens['tier']}", f"{currency}{' / '.join(asked)} per million"
    if not offer["terms"]:
        yield "unpriced", ABSENT


def _contract_lines(effective: Mapping[str, Any]) -> Iterator[str]:
    if "units" in effective:
        yield f"units: {effective['units']['low']:,} to {effective['units']['high']:,}"
    for at in effective.get("discounted", ()):
        price = _range(at["per_unit_hour"], 4)
        yield f"at {at['annual_rate']:.0%} a year: prepayment x {at['prepayment_multiplier']:.4f}, {price} a unit-hour"


def _range(ends: Mapping[str, float], digits: int) -> str:
    low, high = number(ends["low"], digits), number(ends["high"], digits)
    return low if low == high else f"{low} to {high}"
