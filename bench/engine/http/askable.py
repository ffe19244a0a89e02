"""What a workload asks that a server, told of it as a spec says, would never hear."""

from __future__ import annotations

import json
from collections.abc import Collection

from bench.core.endpoint_spec import THINKING_BUDGET, HttpClientSpec, SamplingField
from bench.core.errors import InputError
from bench.core.spec import WorkloadSpec


def refuse_unaskable(client: HttpClientSpec, workload: WorkloadSpec, where: str) -> None:
    """Raise InputError for the first thing that `workload` asks and the server cannot be told."""
    pinned = workload.length_mode == "pinned"
    if pinned and not client.length_body:
        raise InputError(
            "workload.length_mode is pinned, and this server ends answers as it likes",
            where=where,
            allowed="length_mode: free, or engine.force_length with the server's own fields",
        )
    for name in _asked_sampling(workload):
        if name not in client.sampling_fields:
            raise InputError(
                f"workload.{name} = {getattr(workload, name)!r}, and this server knows no {name}",
                where=where,
                allowed=f"the API's own, or engine.sampling_fields with {name}",
            )
    if client.api == "chat":
        _refuse_untold_effort(client, [effort for effort, share in workload.effort.items() if share], where)
    if not pinned and workload.thinking_budget is not None and THINKING_BUDGET not in json.dumps(client.extra_body):
        raise InputError(
            "workload.thinking_budget is not told to the server",
            where=where,
            allowed=f"engine.extra_body with {THINKING_BUDGET} as the value of the server's own field",
        )


def _refuse_untold_effort(client: HttpClientSpec, asked: Collection[str], where: str) -> None:
    if asked and not client.effort_body:
        raise InputError(
            "workload.effort is not told to the server", where=where, allowed="engine.effort_body with its own field"
        )
    for effort in asked:
        if effort not in client.efforts:
            raise InputError(
                f"workload.effort has {effort}, which this server does not know",
                where=where,
                allowed=", ".join(client.efforts),
            )


def _asked_sampling(workload: WorkloadSpec) -> list[SamplingField]:
    """The settings that differ from what the API takes where they are not said."""
    differs: dict[SamplingField, bool] = {
        "temperature": workload.temperature != 1.0,
        "top_p": workload.top_p != 1.0,
        "top_k": workload.top_k is not None,
        "min_p": workload.min_p != 0.0,
        "repetition_penalty": workload.repetition_penalty != 1.0,
        "logit_bias": bool(workload.logit_bias),
    }
    return [name for name, does in differs.items() if does]
