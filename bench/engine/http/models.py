"""What a server says of itself before anything is measured."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import msgspec

from bench.core.errors import EngineError, InputError
from bench.engine.http.address import Address
from bench.engine.http.completion import told_error
from bench.engine.http.failures import one_line
from bench.engine.http.lookup import Lookup
from bench.engine.http.model_names import is_listed
from bench.engine.http.pool import Pool
from bench.engine.http.request import get_message


class Model(msgspec.Struct):
    id: str
    max_model_len: int | None = None
    """Longest context, where the server tells it."""
    owned_by: str | None = None
    """Mostly the name of the server's software."""


class _Models(msgspec.Struct):
    data: list[Model]


_List = _Models | list[Model]
"""Together's API gives the list itself."""


@dataclass(frozen=True)
class Server:
    software: str | None
    """Its own name for itself."""
    models: tuple[Model, ...]
    unlisted: str = ""
    """Why there are no models, where it gave no list of them; not every server has one, and a run may need none."""

    @property
    def names(self) -> list[str]:
        return [model.id for model in self.models]

    def served_model(self, asked: str | None, *, complete: bool = True) -> str:
        """The model to ask for: `asked`, or else the first that is listed.

        A server without a list may serve any; one whose list is `complete` serves what may be meant by a name in it.
        Raises EngineError where it does not serve `asked`, InputError where there is nothing to ask for.
        """
        if asked is not None:
            if complete and self.models and not is_listed(asked, self.names):
                listed = one_line(", ".join(self.names))
                raise EngineError(f"engine.served_model: the server does not list {asked!r} (listed: {listed})")
            return asked
        if not self.models:
            why = f": {self.unlisted}" if self.unlisted else ""
            raise InputError(
                f"the server lists no model{why}", where="engine.served_model", allowed="the name it serves"
            )
        return self.models[0].id

    def max_model_len(self, name: str) -> int | None:
        return next((model.max_model_len for model in self.models if model.id == name), None)

    def owned_by(self, name: str) -> str | None:
        return next((model.owned_by for model in self.models if model.id == name), None)


async def ask_server(pool: Pool, address: Address, key: str | None, deadline_ns: int) -> Server:
    """Raises InputError for a key that is refused, EngineError for a server that fails, ExchangeError for no answer."""
    lookup = Lookup(get_message(address, "/models", key), deadline_ns)
    pool.send(lookup)
    try:
        await lookup.whole
    except asyncio.CancelledError:
        pool.cancel(lookup)
        raise
    if lookup.failure is not None:
        raise lookup.failure
    software = lookup.header(b"server")
    server = one_line(software, key) if software else None
    body = b"".join(lookup.bodies)
    if lookup.status == 200:
        return _listed(server, body)
    location = lookup.header(b"location")
    reason = one_line(f"moved to {location}", key) if location else told_error(body, key) or "no reason"
    answers = f"{address} answers {lookup.status}: {reason}"
    if lookup.status in (401, 403):
        raise InputError(
            answers,
            where="engine.api_key_env",
            allowed="the name of a variable that holds a key the server takes",
        )
    if lookup.status >= 500:
        raise EngineError(answers)
    return Server(server, (), answers)


def _listed(software: str | None, body: bytes) -> Server:
    try:
        listed = msgspec.json.decode(body, type=_List)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Server(software, (), one_line(str(error)))
    return Server(software, tuple(listed.data if isinstance(listed, _Models) else listed))
