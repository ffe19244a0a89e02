"""Offers, results, places and command lines that are none: exit code 2, one line with what is allowed, no result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("no_result_left")

OFFER = """
id: mine
provider: Example
kind: iaas
hardware: h100_sxm
unit: accelerator
quoted: 2026-11-22
currency: USD
source: {text: a quote, read: 2026-11-22}
confidence: high
terms:
  - price: {plan: on_demand, per_unit_hour: 2.5}
"""
BOTH = OFFER + "    contract: {value: 1000, term_months: 12, units: 4}\n"


@pytest.mark.parametrize(
    ("offer", "told"),
    [
        (BOTH, "mine.yaml: terms.0 = "),
        (OFFER.replace("quoted: 2026-11-22", "quoted: 2026-13-45"), "mine.yaml:7: no such date: "),
        (OFFER.replace("read: 2026-11-22", "read: 2026-02-30"), "mine.yaml:9: no such date: "),
        (OFFER.replace("quoted: 2026-11-22", "quoted: tomorrow"), "mine.yaml: quoted = 'tomorrow' (allowed: date)"),
        (OFFER.replace("2.5", "-2.5"), "mine.yaml: terms.0.price.per_unit_hour = -2.5 (allowed: greater than 0)"),
        (OFFER.replace("2.5", ".inf"), "mine.yaml: terms.0.price.per_unit_hour = inf (allowed: a finite number)"),
        (OFFER.replace("2.5", "1e99"), "mine.yaml: terms.0.price.per_unit_hour = '1e99' (allowed: less than"),
        (OFFER.replace("id: mine", "id: yours"), "mine.yaml: id = 'yours' (allowed: the file's name, 'mine')"),
        (OFFER + "valid_till: 2027-01-01\n", "mine.yaml: unknown key 'valid_till' (allowed: id, provider"),
        (OFFER + "notes: caf\udce9\n", "mine.yaml: not UTF-8 at byte "),
    ],
)
def test_a_broken_offer_is_told_by_every_verb_that_reads_it(refusal: Callable[..., str], offer: str, told: str) -> None:
    Path("mine.yaml").write_text(offer, errors="surrogateescape")
    reading = [
        ("offers", "check", "mine.yaml"),
        ("offers", "show", "mine.yaml"),
        ("offers", "list", "mine.yaml"),
        ("run", "smoke", "--offers", "mine.yaml"),
    ]
    for arguments in reading:
        assert refusal(*arguments).startswith(f"bench: {told}")


def test_an_offer_with_a_price_and_a_contract_is_told_what_to_choose(refusal: Callable[..., str]) -> None:
    Path("mine.yaml").write_text(BOTH)
    assert "(allowed: exactly one of price, contract, tokens)" in refusal("offers", "check", "mine.yaml")


def test_two_offers_of_one_id(refusal: Callable[..., str]) -> None:
    for name in ("ours", "theirs"):
        Path(name).mkdir()
        (Path(name) / "mine.yaml").write_text(OFFER)
    line = refusal("offers", "check", "ours", "theirs")
    assert line == "bench: theirs/mine.yaml: offer 'mine' is also in ours/mine.yaml (allowed: an id once)"


@pytest.mark.parametrize(
    "command",
    [
        "run nowhere",
        "run smoke --trace nowhere",
        "run smoke --offers nowhere",
        "run smoke --set model.path=nowhere",
        "compare nowhere",
        "compare results --offers nowhere",
        "verify nowhere",
        "offers list nowhere",
        "offers show nowhere",
        "offers check nowhere",
    ],
)
def test_a_path_that_does_not_exist(refusal: Callable[..., str], result: Path, command: str) -> None:
    line = refusal(*command.split())
    assert line.startswith("bench: nowhere: ")
    assert "(allowed: " in line


@pytest.mark.parametrize("verb", ["compare", "verify"])
def test_a_folder_without_a_record(refusal: Callable[..., str], verb: str) -> None:
    Path("runs").mkdir()
    told = "runs: holds no record (allowed: a folder with a record.json in it or below it)"
    assert refusal(verb, "runs") == f"bench: {told}"


@pytest.mark.parametrize("verb", ["compare", "verify"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "is not a record: "),
        (b"\xff\xfe", "is not a record: "),
        (b"[" * 100_000, "is not a record: "),
        (b"[]", "has schema None (allowed: neobench.record/3, neobench.record/2, neobench.record/1)"),
        (b'{"schema": "neobench.record/9"}', "has schema 'neobench.record/9' (allowed: neobench.record/3, "),
        (b'{"schema": "neobench.record/1"}', "'id' is missing"),
    ],
)
def test_a_record_that_is_none(refusal: Callable[..., str], result: Path, verb: str, content: bytes, told: str) -> None:
    (result / "record.json").write_bytes(content)
    assert refusal(verb, "results").startswith(f"bench: results/{result.name}/record.json: {told}")


@pytest.mark.parametrize("out", ["taken", "taken/below", "leads-nowhere", "/proc/runs"])
def test_a_place_that_takes_no_results(refusal: Callable[..., str], out: str) -> None:
    Path("taken").write_text("not a folder")
    Path("leads-nowhere").symlink_to("nowhere")
    line = refusal("run", "smoke", "--set", "engine={kind: mock}", "--out", out)
    assert line.startswith(f"bench: {out}")
    assert "cannot be written: " in line
    assert "(allowed: a folder with room)" in line
    assert Path("taken").read_text() == "not a folder"


@pytest.mark.parametrize("out", [".", "nowhere/schema.json"])
def test_a_place_that_takes_no_schema(refusal: Callable[..., str], out: str) -> None:
    assert refusal("offers", "export-schema", "--out", out).startswith(f"bench: {out}: cannot be written: ")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("fly", "No such command 'fly' (allowed: what `bench -h` shows)"),
        ("offers fly", "No such command 'fly' (allowed: what `bench offers -h` shows)"),
        ("offers", "Missing command (allowed: what `bench offers -h` shows)"),
        ("run", "Missing argument 'SUITE' (allowed: what `bench run -h` shows)"),
        ("verify", "Missing argument 'RESULT' (allowed: what `bench verify -h` shows)"),
        ("run smoke --fast", "No such option: --fast"),
        ("run smoke again", "Got unexpected extra argument"),
        ("run smoke --out", "Option '--out' requires an argument"),
        ("compare results --format xml", "Invalid value for '--format': 'xml' is not one of 'table', 'json'"),
        ("compare results --utilisation half", "Invalid value for '--utilisation': "),
        ("compare results --utilisation 0", "utilisation = 0.0 (allowed: a share above 0 and at most 1)"),
        ("compare results --utilisation 2", "utilisation = 2.0 (allowed: a share above 0 and at most 1)"),
        ("compare results --utilisation nan", "utilisation = nan (allowed: a share above 0 and at most 1)"),
        ("compare results --allocation 0", "allocation = 0.0 (allowed: "),
        ("compare results --availability -1", "availability = -1.0 (allowed: "),
        ("compare results --discount-rate -0.1", "discount rate = -0.1 (allowed: a number of at least 0"),
        ("compare results --price-ratio inf", "price of input over output = inf (allowed: a number of at least 0)"),
    ],
)
def test_a_command_line_that_is_none(refusal: Callable[..., str], result: Path, command: str, told: str) -> None:
    assert refusal(*command.split()).startswith(f"bench: {told}")
