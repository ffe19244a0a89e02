"""Power and energy of GPUs as NVIDIA's DCGM exporter tells them: of each GPU's board, by its UUID.

Fields: DCGM_FI_DEV_POWER_USAGE in watts, DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION in millijoules since the driver's start
(dcgm_fields.h). The exporter looks at its own pace and repeats itself meanwhile: what has not changed is not read anew.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.core.power_spec import DcgmSpec
from bench.core.prometheus_text import samples
from bench.core.pseudonym import pseudonym
from bench.core.records import PowerRow
from bench.core.server_url import ServerUrl
from bench.core.tls import tls_context
from bench.core.units import NS_PER_S
from bench.node.facts import AbsentError
from bench.node.http_reader import Access, HttpReader, MeterError
from bench.node.patience import Patience
from bench.node.sensor_faults import SensorFaults

_WHERE = "power.dcgm.url"
_POWER = "DCGM_FI_DEV_POWER_USAGE"
_ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
_MILLI = 1000
_STALE_AFTER_NS = 3 * NS_PER_S
"""As long as readings may be apart in a window whose energy is told."""


@dataclass(frozen=True, slots=True)
class _Told:
    """Of one GPU, at one time."""

    index: str
    """DCGM's number of it, which is that of the driver."""
    watts: float | None
    joules: float | None


@dataclass(frozen=True, slots=True)
class _Last:
    told: _Told
    since_ns: int | None
    """None where it was told before anything was recorded: nothing says how old it was."""


def dcgm_access(spec: DcgmSpec) -> Access:
    """Raises InputError for a URL that cannot be asked."""
    url = ServerUrl.read(spec.url, where=_WHERE, secrets="none: the exporter is asked without")
    trusted = tls_context(verify=True, ca_file=None, where=_WHERE) if url.tls else None
    return Access(url, spec.timeout_s, trusted)


class DcgmSensor:
    """Reads the GPUs of one exporter at a pace of its own. To be closed."""

    scope = "gpu"
    lane = "dcgm"

    def __init__(self, spec: DcgmSpec, accelerator_ids: Sequence[str] | None) -> None:
        """`accelerator_ids` are the pseudonyms of the GPUs that are read; None means every one the exporter tells of.

        Raises AbsentError unless all of them are told, and InputError as `dcgm_access` does.
        """
        self.interval_s = spec.interval_s
        self.faults = SensorFaults()
        access = dcgm_access(spec)
        self._path = access.url.path or "/metrics"
        self._reader = HttpReader(access)
        self._patience = Patience(spec.interval_s)
        self._last: dict[str, _Last] = {}
        try:
            self._names = self._find(accelerator_ids)
        except AbsentError:
            self._reader.close()
            raise
        self.device = ", ".join(self._names.values())
        self.source = f"GPU board as reported by DCGM: {_POWER}, {_ENERGY}"

    def read(self, t_ns: int) -> list[PowerRow]:
        """A row for each GPU that the exporter has looked at since it was last asked."""
        if self._patience.waits(t_ns):
            return []
        began_ns = time.monotonic_ns()
        try:
            told = _gpus(self._scrape())
        except MeterError as error:
            self.faults.add(error.code, error.what, t_ns)
            self._patience.failed(t_ns)
            return [PowerRow(t_ns, self.scope, name, None, None) for name in self._names.values()]
        self._patience.answered()
        t_ns += (time.monotonic_ns() - began_ns) // 2
        rows = []
        for uuid, name in self._names.items():
            if uuid not in told:
                self.faults.add("not_read", f"DCGM tells nothing of {name} any more", t_ns)
                rows.append(PowerRow(t_ns, self.scope, name, None, None))
            elif self._is_new(uuid, told[uuid], t_ns):
                rows.append(PowerRow(t_ns, self.scope, name, told[uuid].watts, told[uuid].joules))
        return rows

    def close(self) -> None:
        self._reader.close()

    def _find(self, accelerator_ids: Sequence[str] | None) -> dict[str, str]:
        """What the tables call the GPUs that are read, by UUID."""
        told = _gpus(self._scrape())
        if not told:
            raise MeterError("no_power", f"the exporter tells no {_POWER} and no {_ENERGY}")
        known = {pseudonym(uuid): uuid for uuid in told}
        unknown = [id for id in accelerator_ids or () if id not in known]
        if unknown:
            raise MeterError("no_power", f"DCGM meters no GPU {', '.join(unknown)}, which the engine uses")
        used = told if accelerator_ids is None else [known[id] for id in accelerator_ids]
        self._last = {uuid: _Last(told[uuid], None) for uuid in used}
        names = {uuid: f"gpu{told[uuid].index}" for uuid in used}
        if len(set(names.values())) < len(names):
            raise MeterError(
                "malformed", "the exporter has one number for several GPUs, as where it tells of two machines"
            )
        return names

    def _is_new(self, uuid: str, told: _Told, t_ns: int) -> bool:
        last = self._last[uuid]
        if last.told != told:
            self._last[uuid] = _Last(told, t_ns)
            return True
        if last.since_ns is None:
            self._last[uuid] = _Last(told, t_ns)
        elif t_ns - last.since_ns > _STALE_AFTER_NS:
            past_s = (t_ns - last.since_ns) / NS_PER_S
            name = self._names[uuid]
            self.faults.add("frozen", f"DCGM has told the same of {name} for {past_s:.1f} s: it looks too seldom", t_ns)
        return False

    def _scrape(self) -> str:
        return self._reader.get(self._path).decode("utf-8", errors="replace")


def _gpus(text: str) -> dict[str, _Told]:
    """What is told of each GPU, by UUID. Raises MeterError for two different figures of one."""
    indices: dict[str, str] = {}
    figures: dict[tuple[str, str], float] = {}
    for sample in (*samples(text, _POWER), *samples(text, _ENERGY)):
        uuid = sample.labels.get("UUID")
        if uuid is None or sample.name not in (_POWER, _ENERGY) or sample.value <= 0:
            continue
        indices.setdefault(uuid, sample.labels.get("gpu", "?"))
        # Where pods share a GPU each has a series of it, and all tell the same.
        if figures.setdefault((uuid, sample.name), sample.value) != sample.value:
            raise MeterError("malformed", f"the exporter tells two different {sample.name} of one GPU")
    return {
        uuid: _Told(index, figures.get((uuid, _POWER)), _joules(figures.get((uuid, _ENERGY))))
        for uuid, index in indices.items()
    }


def _joules(millijoules: float | None) -> float | None:
    return None if millijoules is None else millijoules / _MILLI
