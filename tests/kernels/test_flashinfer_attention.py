"""FlashInfer's place in paged attention, held to that library's interface by a stand-in that keeps its promises."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from neokernels import flashinfer_attention
from neokernels.paged_attention import PagedLayout, paged_attention, paged_attention_reference
from neokernels.registry import AttentionShape, Registry, Target
from torch import Tensor

LENS = ((1, 9), (5, 5), (3, 14), (1, 1))
BLOCK_TOKENS = 4


class Wrapper:
    """What `BatchPrefillWithPagedKVCacheWrapper` promises of plan and run, computed by the formula."""

    made: list[Wrapper]

    def __init__(self, workspace: Tensor, kv_layout: str) -> None:
        assert workspace.dtype == torch.uint8
        assert workspace.nbytes == 128 << 20
        assert kv_layout == "NHD"
        self.plans = 0
        self.runs = 0
        self.made.append(self)

    def plan(
        self,
        qo_indptr: Tensor,
        paged_kv_indptr: Tensor,
        paged_kv_indices: Tensor,
        paged_kv_last_page_len: Tensor,
        num_qo_heads: int,
        num_kv_heads: int,
        head_dim_qk: int,
        page_size: int,
        *,
        causal: bool,
        sm_scale: float,
        window_left: int,
        q_data_type: torch.dtype,
        kv_data_type: torch.dtype,
    ) -> None:
        assert causal
        for indices in (qo_indptr, paged_kv_indptr, paged_kv_indices, paged_kv_last_page_len):
            assert indices.dtype == torch.int32
        assert len(qo_indptr) == len(paged_kv_indptr) == len(paged_kv_last_page_len) + 1
        assert len(paged_kv_indices) == paged_kv_indptr[-1]
        assert paged_kv_last_page_len.min() >= 1
        assert paged_kv_last_page_len.max() <= page_size
        self.plans += 1
        self.heads = (num_qo_heads, num_kv_heads, head_dim_qk)
        self.dtypes = (q_data_type, kv_data_type)
        self.scale, self.window_left = sm_scale, window_left
        self.requests = [
            (slice(*qo_indptr[r : r + 2].tolist()), paged_kv_indices[slice(*paged_kv_indptr[r : r + 2].tolist())], last)
            for r, last in enumerate(paged_kv_last_page_len.tolist())
        ]

    def run(self, q: Tensor, paged_kv_cache: tuple[Tensor, Tensor]) -> Tensor:
        keys, values = paged_kv_cache
        assert (q.shape[1], *keys.shape[2:]) == self.heads
        assert (q.dtype, keys.dtype) == self.dtypes
        self.runs += 1
        out = torch.empty_like(q)
        for rows, pages, last in self.requests:
            length = (len(pages) - 1) * keys.shape[1] + last
            key, value = (
                cache[pages.long()].flatten(0, 1)[:length].repeat_interleave(q.shape[1] // keys.shape[2], 1)
                for cache in (keys, values)
            )
            position = torch.arange(length - (rows.stop - rows.start), length)[:, None]
            seen = position >= torch.arange(length)
            if self.window_left >= 0:
                seen &= position - torch.arange(length) <= self.window_left
            logits = torch.einsum("qhd,khd->hqk", q[rows], key) * self.scale
            out[rows] = torch.einsum("hqk,khd->qhd", logits.masked_fill(~seen, -torch.inf).softmax(-1), value)
        return out


@pytest.fixture
def wrappers(monkeypatch: pytest.MonkeyPatch) -> list[Wrapper]:
    """Those that were made, with the stand-in in the place of the library."""
    monkeypatch.setattr(Wrapper, "made", [], raising=False)
    library = SimpleNamespace(BatchPrefillWithPagedKVCacheWrapper=Wrapper)
    monkeypatch.setattr(flashinfer_attention, "import_module", {"flashinfer": library}.__getitem__)
    return Wrapper.made


def step(lens: tuple[tuple[int, int], ...] = LENS) -> tuple[Tensor, Tensor, Tensor, PagedLayout]:
    most = max(-(-context_len // BLOCK_TOKENS) for _, context_len in lens) + 1
    tables = torch.randperm(len(lens) * most).view(len(lens), most).int()
    keys, values = torch.randn(2, len(lens) * most, BLOCK_TOKENS, 2, 8)
    layout = PagedLayout(tuple(q for q, _ in lens), tuple(c for _, c in lens), tables, BLOCK_TOKENS)
    return torch.randn(sum(q for q, _ in lens), 6, 8), keys, values, layout


@pytest.mark.usefixtures("wrappers")
@pytest.mark.parametrize("window", [None, 1, 4, 100])
def test_it_is_asked_for_what_the_reference_computes(window):
    attend, inputs = flashinfer_attention.flashinfer_attention(), step()
    torch.testing.assert_close(attend(*inputs, 0.3, window), paged_attention_reference(*inputs, 0.3, window))


def test_a_step_is_planned_once_for_the_layers_that_attend_alike(wrappers):
    attend = flashinfer_attention.flashinfer_attention()
    for steps in range(1, 3):
        inputs = step()
        for layer in range(6):
            attend(*inputs, 0.3, None if layer % 2 else 4)
        assert [(wrapper.plans, wrapper.runs) for wrapper in wrappers] == [(steps, 3 * steps)] * 2


def test_an_engine_has_its_own(wrappers):
    for _ in range(2):
        flashinfer_attention.flashinfer_attention()(*step(), 0.3)
    assert len(wrappers) == 2


@pytest.mark.parametrize(
    ("attention", "refusal"),
    [
        (AttentionShape(head_dim=128, sinks=True), "not for sinks"),
        (AttentionShape(head_dim=576, latent=True), "not for latents"),
        (AttentionShape(head_dim=80), "not for heads of 80"),
        (AttentionShape(head_dim=128), None),
        (None, None),
    ],
)
def test_it_refuses_what_it_is_not_called_for(monkeypatch, attention, refusal):
    monkeypatch.setattr(flashinfer_attention, "find_spec", lambda name: name)
    target = Target(torch.device("cuda"), torch.bfloat16, attention=attention)
    assert flashinfer_attention.without_flashinfer(target) == refusal


def test_it_says_that_it_is_not_installed():
    target = Target(torch.device("cuda"), torch.bfloat16)
    assert flashinfer_attention.without_flashinfer(target) == "needs flashinfer, which is not installed"


def test_a_cpu_goes_on_without_it():
    registry = Registry({"paged_attention": "flashinfer"})
    registry.resolve(paged_attention, Target(torch.device("cpu"), torch.float32))
    (choice,) = registry.choices
    assert "flashinfer: needs a CUDA device" in choice.reason


def test_a_step_with_sinks_is_an_error_and_not_another_answer():
    attend: Any = flashinfer_attention.flashinfer_attention()
    with pytest.raises(ValueError, match="sinks"):
        attend(*step(), 0.3, None, torch.zeros(6))
