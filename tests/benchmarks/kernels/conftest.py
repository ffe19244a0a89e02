"""What stands of a machine in a baseline that is published: what it is made of, not what it is called."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import triton


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info.pop("node", None)
    machine_info["torch"], machine_info["triton"] = torch.__version__, triton.__version__
    machine_info["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
