"""Offers as files: what is read, what is refused and in which words, and what is shipped."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from bench.core.errors import InputError
from bench.offers.catalog import load_offer, load_offers
from bench.offers.offer import Contract, Price, Tokens, offer_json_schema

HEAD = """\
id: mine
provider: Somebody
kind: iaas
hardware: h100_sxm
unit: accelerator
quoted: 2026-11-01
currency: USD
source:
  text: a quote by mail
  read: 2026-11-02
confidence: high
"""
PRICED = (
    HEAD
    + """\
terms:
  - price:
      plan: on_demand
      per_unit_hour: 2.95
      minimum_block: 8
"""
)


def contract(**changes: object) -> str:
    fields = {"value": 1000000, "term_months": 60, "units": 100, **changes}
    body = "\n".join(f"      {key}: {json.dumps(value)}" for key, value in fields.items() if value is not None)
    return f"{HEAD}terms:\n  - contract:\n{body}\n"


def between(low: dict[str, object], high: dict[str, object]) -> str:
    return contract(units=None, units_between={"low": low, "high": high})


def written(folder: Path, text: str | bytes, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_an_offer_is_read_as_amounts_and_dates(tmp_path: Path) -> None:
    offer = load_offer(written(tmp_path, PRICED))
    price = offer.terms[0].sold
    assert isinstance(price, Price)
    assert price.per_unit_hour == Decimal("2.95")
    assert offer.quoted == date(2026, 11, 1)
    assert offer.terms[0].label == "on_demand, blocks of 8"


def test_an_offer_without_terms_is_legal(tmp_path: Path) -> None:
    assert load_offer(written(tmp_path, HEAD)).terms == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (PRICED + "    contract: {value: 1, term_months: 1, units: 1}\n", "terms.0 = {'price'"),
        (PRICED + "    tokens: {model: x, input: 1, output: 1}\n", "exactly one of price, contract, tokens"),
        (PRICED.replace("2.95", "-2.95"), "terms.0.price.per_unit_hour = -2.95 (allowed: greater than 0)"),
        (PRICED.replace("2.95", ".nan"), "terms.0.price.per_unit_hour = nan"),
        (PRICED.replace("plan:", "plam:"), "unknown key 'terms.0.price.plam' (allowed: plan, per_unit_hour,"),
        (PRICED.replace("on_demand", "lease"), "plan = 'lease' (allowed: 'on_demand', 'reserved' or 'spot')"),
        (PRICED.replace("2026-11-01", "2026-13-01"), "mine.yaml:6: no such date: month must be in 1..12"),
        (PRICED.replace("2026-11-01", "soon"), "quoted = 'soon' (allowed: date)"),
        (PRICED.replace("2026-11-01", "20261101"), "quoted = 20261101 (allowed: date)"),
        (PRICED + "valid_until: 2026-10-31\n", "a day not before quoted"),
        (PRICED.replace("kind: iaas", "kind: paas"), "hardware = 'h100_sxm'"),
        (PRICED.replace("hardware: h100_sxm\n", ""), "hardware = None"),
        (HEAD + "terms:\n  - tokens: {model: x, input: 1, output: 1}\n", "tokens for paas"),
        (PRICED.replace("currency: USD", "currency: dollars"), "currency = 'dollars'"),
        (PRICED.replace("unit: accelerator", "unit: accelerator\ncount: 8"), "(allowed: 1, unless unit is node)"),
        (PRICED.replace("id: mine", "id: yours"), "id = 'yours' (allowed: the file's name, 'mine')"),
        (PRICED.replace("  read: 2026-11-02\n", ""), "'source.read' is missing"),
        (contract(units=None), "exactly one of units, units_between"),
        (contract(value=-1), "terms.0.contract.value = -1 (allowed: greater than 0)"),
        (contract(prepayment_share=1.5), "terms.0.contract.prepayment_share = 1.5"),
        (between({"units": 9, "reason": "a"}, {"units": 8, "reason": "b"}), "low at most high"),
        (between({"site_kw": 9, "reason": "a"}, {"units": 8, "reason": "b"}), "site_kw and kw_per_unit"),
        ("- a\n", "the document is list (allowed: a mapping of keys to values)"),
        ("a: [", "mine.yaml:1: not YAML"),
        (b"id: \xff", "not UTF-8 at byte 4"),
    ],
)
def test_a_mistake_is_told_in_one_line_with_its_place_and_what_is_allowed(
    tmp_path: Path, text: str | bytes, told: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_offer(path)
    line = str(caught.value)
    assert told in line
    assert line.startswith(str(path))
    assert "\n" not in line


def test_a_ramp_needs_a_start_and_whole_shares(tmp_path: Path) -> None:
    ramp = "      ramp:\n        - {delivered: 2026-03-01, share: 0.4}\n        - {delivered: 2026-06-01, share: %s}\n"
    with pytest.raises(InputError, match="a ramp only with a start"):
        load_offer(written(tmp_path, contract() + ramp % "0.6"))
    with pytest.raises(InputError, match="add up to 1"):
        load_offer(written(tmp_path, contract() + "      start: 2026-01-01\n" + ramp % "0.5"))
    assert load_offer(written(tmp_path, contract() + "      start: 2026-01-01\n" + ramp % "0.6")).terms


def test_a_unit_count_may_come_from_the_sites_power(tmp_path: Path) -> None:
    text = between({"units": 76000, "reason": "a"}, {"site_kw": 200000, "kw_per_unit": 1.905, "reason": "b"})
    deal = load_offer(written(tmp_path, text)).terms[0].sold
    assert isinstance(deal, Contract)
    assert deal.unit_counts == (76000, 104986)


def test_offers_are_found_by_file_folder_and_id(tmp_path: Path) -> None:
    path = written(tmp_path, PRICED)
    written(tmp_path, PRICED.replace("id: mine", "id: other"), "other.yaml")
    assert [offer.id for offer in load_offers([str(path), "oci-gb300"])] == ["mine", "oci-gb300"]
    assert [offer.id for offer in load_offers([str(tmp_path)])] == ["mine", "other"]
    assert [offer.id for offer in load_offers([str(tmp_path), str(path)])] == ["mine", "other"]
    with pytest.raises(InputError, match="no such offer"):
        load_offers(["nobody-sells-this"])


def test_an_id_in_two_files_and_a_folder_without_offers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "mine.yaml").write_text(PRICED)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="an id once"):
        load_offers([str(written(tmp_path, PRICED)), str(tmp_path / "copy")])
    with pytest.raises(InputError, match="no offer in this folder"):
        load_offers([str(tmp_path / "none")])


def test_the_schema_for_editors_names_every_key_of_an_offer() -> None:
    schema = offer_json_schema()
    assert {"id", "provider", "terms", "source", "quoted"} <= set(schema["properties"])
    assert schema["additionalProperties"] is False


def test_shipped_offers_cover_what_a_first_comparison_needs() -> None:
    offers = {offer.id: offer for offer in load_offers()}
    small_nodes = [o for o in offers.values() if o.hardware == "cpu-x86_64-2c" and o.unit == "node" and o.terms]
    assert len({offer.provider for offer in small_nodes}) >= 3
    hardware = {offer.hardware for offer in offers.values()}
    assert hardware >= {"cpu-x86_64-4c", "cpu-x86_64-8c", "gb300_nvl72", "h100_sxm"}
    providers = {offer.provider for offer in offers.values()}
    assert providers >= {"IREN", "Oracle Cloud Infrastructure", "Nebius", "Lambda", "Verda", "AWS", "Microsoft Azure"}
    assert any(isinstance(term.sold, Tokens) for offer in offers.values() for term in offer.terms)
    assert any(not offer.terms for offer in offers.values())
    assert offers["oci-gb300"].terms[0].sold == Price(plan="on_demand", per_unit_hour=Decimal(18), minimum_block=4)


def test_every_shipped_offer_says_where_its_figures_stand() -> None:
    for offer in load_offers():
        assert offer.source.url, offer.id
        assert offer.source.read >= offer.quoted, offer.id
        assert offer.source.published is None or offer.source.published <= offer.source.read, offer.id
