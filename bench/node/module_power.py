"""Energy and power of NVIDIA's modules: a Grace processor with its GPUs, their memory and regulators, as NVML tells.

Every GPU of a module answers with the module's power, so each module is read through one of them. Which GPUs share a
module is told twice: by the serial number of their board, and by the processor next to them, since a module has one.
Where both contradict each other, or one says nothing, no module is read: a meter that counts twice is worse than none.

That two handles of one board read one meter is an ASSUMPTION, until `bench node record` has seen it on hardware, and
the source of such a meter says so. It rests on what nvidia-smi (driver 580.173) lists of idle GB200 and GB300 trays,
published in NVIDIA/k8s-test-infra: GPUs of 166 W and 169 W have one serial number, and tell 467 W and 460 W of module
power a moment apart under one module limit of 2,500 W, for two GPUs of at most 1,200 W. Of such trays GPUs 0 and 1 are
next to processors 0-71, and 2 and 3 next to 72-143 (sgl-project/sglang#11208). NVML's module id will not do: it is that
of the GPU on its baseboard, and four GPUs of two modules tell 2, 1, 4, 3 (NVIDIA/k8s-test-infra#727).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import pynvml

from bench.node.facts import AbsentError, told
from bench.node.nvml import Device
from bench.node.nvml_sensor import Meter, field_source, first_that_answers, open_meter

MOST_GPUS = 2
"""Of one module, as GB200 and GB300 have; a GH200 has one."""

_MODULE = ("module", pynvml.NVML_POWER_SCOPE_MODULE)
GPU_COUNTER = (pynvml.NVML_FI_DEV_ENERGY, pynvml.NVML_POWER_SCOPE_GPU)
_COUNTER = (field_source("energy counter", pynvml.NVML_FI_DEV_ENERGY, _MODULE, unlike=GPU_COUNTER),)
MODULE_POWER = (
    field_source("instant power", pynvml.NVML_FI_DEV_POWER_INSTANT, _MODULE),
    field_source("average power", pynvml.NVML_FI_DEV_POWER_AVERAGE, _MODULE),
)
_CPU_WORDS = 64
"""Of 64 bits: room for more processors than one machine of modules has."""


@dataclass(frozen=True, slots=True)
class Module:
    """GPUs on one board."""

    name: str
    """`module0` for that of GPU 0."""
    gpus: tuple[Device, ...]

    def remark(self, used: Sequence[Device]) -> str:
        """What its energy rests on, and what it contains beside the `used` GPUs."""
        if len(self.gpus) == 1:
            return f"it contains whatever else is on the module of {self.gpus[0].name}: NVML lists no other GPU there"
        names = " and ".join(gpu.name for gpu in self.gpus)
        assumed = f"read once, through {self.gpus[0].name}: ASSUMED to be one meter of {names}, of one board"
        unused = [f"it contains {gpu.name}, which is not used" for gpu in self.gpus if gpu not in used]
        return "; ".join([assumed, *unused])


def module_meters(used: Sequence[Device], devices: Sequence[Device]) -> list[Meter]:
    """A meter for each module that holds one of the `used` GPUs among all `devices`.

    Raises AbsentError unless every such module can be read: part of a scope is not the scope.
    """
    for device in used:
        power = first_that_answers(device, MODULE_POWER)
        if isinstance(power, AbsentError):
            # What has no module power is on no module, and the reason is that of its meter.
            raise power
    return [
        open_meter(
            "module", module.name, module.gpus[0], energy=_COUNTER, power=MODULE_POWER, remark=module.remark(used)
        )
        for module in modules_of(devices)
        if any(gpu in used for gpu in module.gpus)
    ]


def modules_of(devices: Sequence[Device]) -> list[Module]:
    """The modules that all the GPUs of a machine are on. Raises AbsentError where it is not told which those are."""
    if len(devices) == 1:
        return [Module("module0", tuple(devices))]
    boards: dict[str, list[Device]] = {}
    for device in devices:
        boards.setdefault(_serial(device), []).append(device)
    crowded = next((gpus for gpus in boards.values() if len(gpus) > MOST_GPUS), None)
    if crowded is not None:
        names = ", ".join(gpu.name for gpu in crowded)
        raise AbsentError(f"{names} have one serial number, and no module has over {MOST_GPUS} GPUs")
    modules = [Module(f"module{number}", tuple(gpus)) for number, gpus in enumerate(boards.values())]
    _check_processors(modules)
    return modules


def _serial(device: Device) -> str:
    """Of its board, never to be written down."""
    return told(str(device.ask("nvmlDeviceGetSerial")).strip() or None, f"{device.name} has no serial number")


def _check_processors(modules: Sequence[Module]) -> None:
    """Raises AbsentError for one module with two processors, and for two that may be one: next to one processor, with
    no more GPUs than a module has. A virtual machine may show all of its GPUs next to all of its processors.
    """
    near = [(gpu, module, _processors(gpu)) for module in modules for gpu in module.gpus]
    for (one, its_module, its_cpus), (other, module, cpus) in combinations(near, 2):
        if module is its_module and cpus != its_cpus:
            raise AbsentError(f"{one.name} and {other.name} have one serial number, and not the same processors")
        if module is not its_module and cpus & its_cpus and len(its_module.gpus) + len(module.gpus) <= MOST_GPUS:
            raise AbsentError(f"{one.name} and {other.name} have two serial numbers, and processors in common")


def _processors(device: Device) -> int:
    """The processors next to it, a bit for each."""
    words = device.ask("nvmlDeviceGetCpuAffinity", _CPU_WORDS)
    bits = sum(int(word) << 64 * place for place, word in enumerate(words))
    return told(bits or None, f"NVML names no processor next to {device.name}")
