"""Paged attention by FlashInfer's kernels, where that library is installed: to compare with, or to serve by.

Its wrapper for prefills takes decodes and what is mixed of both as well. A step is planned once for all layers that
attend alike; planning reads the step's lengths on the host, so that no CUDA graph can hold it.

Written against the public interface of flashinfer-python 0.7.2. Tests hold the calls to that interface with a stand-in
for the library; on a GPU it has not been run yet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neokernels.registry import Target

if TYPE_CHECKING:
    from neokernels.paged_attention import PagedLayout

_WORKSPACE_BYTES = 128 << 20
"""For partial results, as FlashInfer recommends."""
_HEAD_DIMS = (64, 128, 256)


def without_flashinfer(target: Target) -> str | None:
    """The requirement of the library and of what it has kernels for."""
    if target.device.type != "cuda":
        return "needs a CUDA device"
    if find_spec("flashinfer") is None:
        return "needs flashinfer, which is not installed"
    if target.dtype not in (torch.float16, torch.bfloat16):
        return f"not for activations in {target.dtype}"
    shape = target.attention
    if shape is not None and (shape.latent or shape.sinks):
        return f"not for {'latents' if shape.latent else 'sinks'}"
    if shape is not None and shape.head_dim not in _HEAD_DIMS:
        return f"not for heads of {shape.head_dim}"
    return None


def flashinfer_attention() -> Callable[..., Tensor]:
    """As `neokernels.paged_attention.paged_attention_reference`, without sinks. It keeps the plans of one engine."""
    return _Attention()


@dataclass(frozen=True, slots=True)
class _Kind:
    """What layers that share a plan have in common."""

    query_heads: int
    kv_heads: int
    head_dim: int
    scale: float
    window: int | None
    dtype: torch.dtype
    kv_dtype: torch.dtype
    device: torch.device


class _Attention:
    def __init__(self) -> None:
        self._planned: dict[_Kind, _Planned] = {}
        self._workspaces: dict[torch.device, Tensor] = {}

    def __call__(
        self,
        query: Tensor,
        key_cache: Tensor,
        value_cache: Tensor,
        layout: PagedLayout,
        scale: float,
        window: int | None = None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        if sinks is not None or key_cache.shape != value_cache.shape:
            raise ValueError("FlashInfer is called for neither sinks nor latents here")
        kind = _Kind(
            query_heads=query.shape[1],
            kv_heads=key_cache.shape[2],
            head_dim=key_cache.shape[3],
            scale=scale,
            window=window,
            dtype=query.dtype,
            kv_dtype=key_cache.dtype,
            device=query.device,
        )
        planned = self._planned.get(kind)
        if planned is None:
            planned = self._planned[kind] = _Planned(kind, self._workspace(query.device))
        return planned.attend(query, key_cache, value_cache, layout)

    def _workspace(self, device: torch.device) -> Tensor:
        """Steps and layers run one after another, so one is enough."""
        if device not in self._workspaces:
            self._workspaces[device] = torch.empty(_WORKSPACE_BYTES, dtype=torch.uint8, device=device)
        return self._workspaces[device]


class _Planned:
    """A wrapper, with the step that it is planned for."""

    def __init__(self, kind: _Kind, workspace: Tensor) -> None:
        flashinfer: Any = import_module("flashinfer")
        self._kind = kind
        self._wrapper = flashinfer.BatchPrefillWithPagedKVCacheWrapper(workspace, "NHD")
        self._layout: PagedLayout | None = None
        self._copied = torch.Event(kind.device) if kind.device.type == "cuda" else None
        """The plan before has been copied to the device, out of host memory that the next one writes."""

    def attend(self, query: Tensor, key_cache: Tensor, value_cache: Tensor, layout: PagedLayout) -> Tensor:
        if self._layout is not layout:
            self._plan(layout)
        attended: Tensor = self._wrapper.run(query, (key_cache, value_cache))
        return attended

    def _plan(self, layout: PagedLayout) -> None:
        if self._copied is not None:
            self._copied.synchronize()
        kind, size = self._kind, layout.block_tokens
        context_lens = torch.tensor(layout.context_lens, dtype=torch.int32)
        blocks = (context_lens + size - 1) // size
        self._wrapper.plan(
            _starts(layout.query_lens),
            _starts(blocks.tolist()),
            _in_order(layout.block_tables, blocks),
            (context_lens - 1) % size + 1,
            kind.query_heads,
            kind.kv_heads,
            kind.head_dim,
            size,
            causal=True,
            sm_scale=kind.scale,
            window_left=-1 if kind.window is None else kind.window - 1,
            q_data_type=kind.dtype,
            kv_data_type=kind.kv_dtype,
        )
        if self._copied is not None:
            self._copied.record()
        self._layout = layout


def _starts(lens: tuple[int, ...] | list[int]) -> Tensor:
    """[R + 1] int32 on the host."""
    return torch.tensor(list(accumulate(lens, initial=0)), dtype=torch.int32)


def _in_order(tables: Tensor, blocks: Tensor) -> Tensor:
    """The first `blocks` [R] entries of each row of the tables, one behind the other."""
    rows = torch.arange(len(blocks)).repeat_interleave(blocks)
    starts = (blocks.cumsum(0) - blocks).repeat_interleave(blocks)
    places = rows * tables.shape[1] + torch.arange(len(rows)) - starts
    return tables.flatten().index_select(0, places.to(tables.device))
