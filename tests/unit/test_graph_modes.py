"""What a requested graph mode becomes under each kernel and device, and the reason that is recorded."""

from __future__ import annotations

import pytest
import torch
from neokernels.paged_attention import paged_attention
from neokernels.registry import Choice, GraphSupport, Registry, Target

from bench.core.axes import GraphMode
from bench.native.graphs.modes import Downgrade, GraphSettings, ResolvedMode, resolve_mode

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def resolve(
    mode: GraphMode,
    attention: GraphSupport,
    *,
    device: torch.device = CUDA,
    drafted_tokens: int = 0,
    others: tuple[Choice, ...] = (),
) -> ResolvedMode:
    choices = (Choice("rms_norm", "triton", ""), Choice("paged_attention", "split", "", attention), *others)
    settings = GraphSettings(
        mode, "vllm", max_tokens=512, max_running=16, step_tokens=512, drafted_tokens=drafted_tokens
    )
    return resolve_mode(settings, choices, device, capturable=device.type == "cuda")


@pytest.mark.parametrize(
    ("mode", "support", "becomes"),
    [
        ("none", "never", "none"),
        ("decode_full", "never", "none"),
        ("decode_full", "single_token", "decode_full"),
        ("decode_full", "uniform", "decode_full"),
        ("full", "never", "piecewise"),
        ("full", "single_token", "full_and_piecewise"),
        ("full", "uniform", "full_and_piecewise"),
        ("full", "always", "full"),
        ("piecewise", "never", "piecewise"),
        ("piecewise", "always", "piecewise"),
        ("full_and_piecewise", "never", "piecewise"),
        ("full_and_piecewise", "single_token", "full_and_piecewise"),
        ("full_and_piecewise", "always", "full_and_piecewise"),
    ],
)
def test_attention_decides(mode: GraphMode, support: GraphSupport, becomes: GraphMode) -> None:
    resolved = resolve(mode, support)
    assert (resolved.requested, resolved.planned, resolved.captured) == (mode, becomes, becomes)
    assert len(resolved.downgrades) == (mode != becomes)


def test_the_reason_names_the_kernel() -> None:
    assert resolve("full_and_piecewise", "never").downgrades == (
        Downgrade("full_and_piecewise", "piecewise", "attention 'split' cannot be captured"),
    )
    (downgrade,) = resolve("full", "uniform").downgrades
    assert downgrade.reason == "attention 'split' can be captured for steps of equally many tokens a request only"


def test_one_kernel_that_cannot_be_captured_rules_out_every_graph() -> None:
    resolved = resolve("piecewise", "always", others=(Choice("experts", "loop", "", "never"),))
    assert resolved.downgrades == (Downgrade("piecewise", "none", "experts 'loop' cannot be captured"),)
    assert resolved.query_lens == ()


def test_a_cpu_captures_nothing_but_plans_what_its_kernels_allow() -> None:
    resolved = resolve("full_and_piecewise", "never", device=CPU)
    assert (resolved.planned, resolved.captured) == ("piecewise", "none")
    assert [downgrade.got for downgrade in resolved.downgrades] == ["piecewise", "none"]
    assert resolved.downgrades[-1].reason == "a cpu has no graphs"


def test_nothing_is_downgraded_where_nothing_was_asked() -> None:
    assert resolve("none", "never", device=CPU).downgrades == ()


@pytest.mark.parametrize(
    ("mode", "support", "query_lens"),
    [
        ("decode_full", "always", (1, 4)),
        ("full_and_piecewise", "uniform", (1, 4)),
        ("full_and_piecewise", "single_token", (1,)),
        ("full", "always", ()),
        ("piecewise", "always", ()),
    ],
)
def test_drafts_lengthen_decode_steps(mode: GraphMode, support: GraphSupport, query_lens: tuple[int, ...]) -> None:
    assert resolve(mode, support, drafted_tokens=3).query_lens == query_lens


def test_the_torch_reference_of_attention_reads_lengths_on_the_host() -> None:
    registry = Registry(reference=True)
    registry.resolve(paged_attention, Target(CUDA, torch.float32))
    assert registry.choices[0].graphs == "never"
