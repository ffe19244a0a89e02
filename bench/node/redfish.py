"""Power of a server or a rack as its management controller (BMC) tells it through Redfish, which is only ever read."""

from __future__ import annotations

import functools
import time

import msgspec

from bench.core.errors import InputError
from bench.core.power_spec import RedfishSpec
from bench.core.records import PowerRow
from bench.core.secret import login
from bench.core.server_url import ServerUrl
from bench.core.tls import tls_context
from bench.node.http_reader import Access, HttpReader, MeterError
from bench.node.patience import Patience
from bench.node.redfish_power import Document, PowerSource, find_power
from bench.node.sensor_faults import SensorFaults

WHERE = "power.redfish"
_LONGEST_SEARCH_S = 60.0


def redfish_access(spec: RedfishSpec, where: str = WHERE) -> Access:
    """Raises InputError, at `where`, for a URL that cannot be asked or would show the password, and for no login."""
    url = ServerUrl.read(spec.url, where=f"{where}.url", secrets="the variables of user_env and password_env")
    if url.path.rstrip("/"):
        raise InputError("names a path", where=f"{where}.url", allowed="the service alone, as https://HOST[:PORT]")
    if not url.tls and not url.loopback:
        raise InputError("would show the password on its way", where=f"{where}.url", allowed="https, or this machine")
    if not url.tls and spec.ca_file is not None:
        raise InputError("the server is asked without TLS", where=f"{where}.ca_file", allowed="null")
    trusted = tls_context(verify=spec.verify_tls, ca_file=spec.ca_file, where=f"{where}.ca_file") if url.tls else None
    return Access(url, spec.timeout_s, trusted, login(spec.user_env, spec.password_env, where))


class RedfishSensor:
    """Reads one chassis at a pace of its own, and less often while it does not answer. To be closed."""

    def __init__(self, spec: RedfishSpec, number: int = 0) -> None:
        """`number` tells it from other controllers.

        Raises AbsentError where the controller tells no power, and InputError as `redfish_access` does.
        """
        self.scope: str = spec.scope
        self.interval_s = spec.interval_s
        self.faults = SensorFaults()
        self._reader = HttpReader(redfish_access(spec))
        self._patience = Patience(spec.interval_s)
        try:
            self._power = self._find(spec.chassis)
        except MeterError:
            self._reader.close()
            raise
        self.device = self.lane = f"bmc{number}-{self._power.chassis}"
        self.source = f"Redfish {self._power.what}"

    def read(self, t_ns: int) -> list[PowerRow]:
        """The power at the middle of the request, for nothing tells when in between it was measured."""
        if self._patience.waits(t_ns):
            return []
        began_ns = time.monotonic_ns()
        watts = joules = None
        try:
            watts, joules = self._read()
        except MeterError as error:
            self.faults.add(error.code, error.what, t_ns)
            self._patience.failed(t_ns)
            if error.code == "unauthorized":
                self._patience.lost()
        else:
            self._patience.answered()
        t_ns += (time.monotonic_ns() - began_ns) // 2
        return [PowerRow(t_ns, self.scope, self.device, watts=watts, joules_counter=joules)]

    def close(self) -> None:
        self._reader.close()

    def _find(self, chassis: str | None) -> PowerSource:
        ends_s = time.monotonic() + _LONGEST_SEARCH_S

        @functools.cache
        def get(path: str) -> Document:
            if time.monotonic() > ends_s:
                raise MeterError("timeout", f"no power is found in {_LONGEST_SEARCH_S:g} s")
            return self._document(path)

        return find_power(get, chassis)

    def _read(self) -> tuple[float, float | None]:
        """Watts, and the counter's joules where there is one. Raises MeterError."""
        documents = {path: self._document(path) for path in self._power.paths}
        return self._power.watts_in(documents), self._power.joules_in(documents)

    def _document(self, path: str) -> Document:
        try:
            document = msgspec.json.decode(self._reader.get(path))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise MeterError("malformed", f"GET {path} is answered with what is no JSON") from None
        if not isinstance(document, dict):
            raise MeterError("malformed", f"GET {path} is answered with no JSON object")
        return document
