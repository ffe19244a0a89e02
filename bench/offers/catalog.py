"""Finding offers: a file, a folder of files, or an id among the offers the project ships."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench.core.configs import config_root, resolve
from bench.core.errors import InputError
from bench.core.suite import parse, read_yaml
from bench.offers.offer import Offer


def load_offer(path: Path) -> Offer:
    """The offer in one YAML file. Raises InputError naming the file, the place in it and what is allowed there."""
    offer = parse(Offer, read_yaml(path), str(path))
    if offer.id != path.stem:
        raise InputError(f"id = {offer.id!r}", where=path, allowed=f"the file's name, {path.stem!r}")
    return offer


def load_offers(names_or_paths: Iterable[str] = ()) -> tuple[Offer, ...]:
    """Offers in the order asked; every shipped offer when nothing is asked.

    Each item is a file, a folder (all its `*.yaml`, sorted) or the id of a shipped offer. Raises InputError for an item
    that is none of these, for a folder without offers, and for an id that appears twice.
    """
    asked = list(names_or_paths) or [str(config_root() / "offers")]
    offers: dict[str, tuple[Offer, Path]] = {}
    for path in (file for item in asked for file in _files(resolve(item, "offers"))):
        offer = load_offer(path)
        earlier = offers.setdefault(offer.id, (offer, path))[1]
        if earlier.resolve() != path.resolve():
            raise InputError(f"offer {offer.id!r} is also in {earlier}", where=path, allowed="an id once")
    return tuple(offer for offer, _ in offers.values())


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("*.yaml"))
    if not found:
        raise InputError("no offer in this folder", where=path, allowed="one offer a *.yaml file")
    return found
