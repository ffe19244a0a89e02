"""Where a model's weights come from: here, the tensors of a Hugging Face folder.

They are read from safetensors only: one file, or shards with an index.
Whatever is wrong with them is an InputError that names the file, the tensor and what was expected. Pickled weights are
never opened: reading one can run code.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from neokernels.formats import fp8_tiles, mxfp4
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bench.core.errors import InputError
from bench.native.json_file import JsonObject
from bench.native.parallel.shards import WHOLE, Shards

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_FLOATING = ("F32", "BF16", "F16")
_BYTES = ("U8",)
_FP8 = "F8_E4M3"


class WeightSource(Protocol):
    """Gives the tensors of a model by the names of its Hugging Face folder, or the parts of them that a rank holds.

    Names and shapes are those of whole tensors; each is cut before it is stacked with others.
    """

    @property
    def bytes_read(self) -> int:
        """Bytes on the device of everything read so far."""

    def read(self, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype | None = None) -> Tensor:
        """The named tensors, each of exactly its shape, stacked along their first dimension into one.

        They are made `dtype`, or the source's own where that is None. Raises InputError for one that cannot be had.
        """

    def read_mxfp4(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """A tensor that is stored as `<name>_blocks` and `<name>_scales`, as the dense one of `shape` it stands for.

        The last dimension is the one that is cut into blocks. Raises InputError for one that cannot be had.
        """


class WeightFiles:
    """The weights of one folder, copied tensor by tensor to a device and a dtype."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype, shards: Shards = WHOLE) -> None:
        """Opens every file. Raises InputError where one is missing, cut short or not safetensors."""
        self.bytes_read = 0
        """Bytes on the device of everything read so far."""
        self._device = device
        self._dtype = dtype
        self._shards = shards
        index = folder / _INDEX
        sharded = index.exists()
        self._listing = index if sharded else folder / _SINGLE
        self._handles = {file: _open(file) for file in (_shards(index) if sharded else [self._listing])}
        self._file_of = {name: file for file, handle in self._handles.items() for name in handle.keys()}  # noqa: SIM118

    def read(self, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype | None = None) -> Tensor:
        """As `WeightSource` says. A matrix of eight-bit floats is made what its tiles' scales say it stands for.

        Raises InputError for a tensor that is missing, of another shape or not of a floating dtype.
        """
        held = [self._shards.shape(name, shape) for name, shape in shapes.items()]
        lengths = [rows for rows, *_ in held]
        stacked = torch.empty((sum(lengths), *held[0][1:]), dtype=dtype or self._dtype, device=self._device)
        for part, (name, shape) in zip(torch.split(stacked, lengths), shapes.items(), strict=True):
            part.copy_(self._matrix(name, shape) if self._is_fp8(name) else self._part(name, shape))
            if not self._shards.adds(name):
                part.zero_()
        self.bytes_read += stacked.nbytes
        return stacked

    def read_mxfp4(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """As `WeightSource` says: `<name>_blocks` [..., blocks, bytes] and `<name>_scales` [..., blocks], uint8 each.

        The tensor is made one row of its first dimension at a time.
        """
        *outer, columns = shape
        if columns % mxfp4.BLOCK:
            raise InputError(
                f"tensor {name!r} has {columns} columns", where=self._listing, allowed=f"whole blocks of {mxfp4.BLOCK}"
            )
        blocks = columns // mxfp4.BLOCK
        codes = self._stored(f"{name}_blocks", (*outer, blocks, mxfp4.BLOCK // 2), _BYTES)
        scales = self._stored(f"{name}_scales", (*outer, blocks), _BYTES).view(torch.float8_e8m0fnu)
        stored = f"{name}_blocks"
        part = self._shards.part(stored, shape)[1:]
        dense = torch.empty(self._shards.shape(stored, shape), dtype=self._dtype, device=self._device)
        for row, row_codes, row_scales in zip(dense, codes.flatten(-2), scales, strict=True):
            weight = mxfp4.Mxfp4Weight(row_codes.to(self._device), row_scales.to(self._device), columns)
            row.copy_(mxfp4.dequantise(weight, self._dtype)[part])
        self.bytes_read += dense.nbytes
        return dense

    def _is_fp8(self, name: str) -> bool:
        return name in self._file_of and self._handles[self._file_of[name]].get_slice(name).get_dtype() == _FP8

    def _matrix(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The rank's part of a matrix of eight-bit floats, dequantised on the device."""
        values = self._stored(name, shape, (_FP8,)).to(self._device)
        scales = self._stored(f"{name}_scale_inv", fp8_tiles.scales_shape(shape), ("F32",)).to(self._device)
        # A cut may run through a tile.
        return fp8_tiles.dequantise(values, scales, torch.float32)[self._shards.part(name, shape)]

    def _part(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The rank's part of a tensor as it lies in its file; no more is read."""
        if self._shards.shape(name, shape) == shape:
            return self._stored(name, shape, _FLOATING)
        part: Tensor = self._found(name, shape, _FLOATING)[self._shards.part(name, shape)]
        return part

    def _stored(self, name: str, shape: tuple[int, ...], dtypes: tuple[str, ...]) -> Tensor:
        """The whole tensor as it lies in its file."""
        self._found(name, shape, dtypes)
        stored: Tensor = self._handles[self._file_of[name]].get_tensor(name)
        return stored

    def _found(self, name: str, shape: tuple[int, ...], dtypes: tuple[str, ...]) -> Any:
        """A tensor that is as expected, not read yet."""
        expected = f"shape {list(shape)}"
        if name not in self._file_of:
            raise InputError(f"tensor {name!r} is missing", where=self._listing, allowed=expected)
        file = self._file_of[name]
        found = self._handles[file].get_slice(name)
        if tuple(found.get_shape()) != shape:
            raise InputError(f"tensor {name!r} has shape {found.get_shape()}", where=file, allowed=expected)
        if found.get_dtype() not in dtypes:
            raise InputError(f"tensor {name!r} is stored as {found.get_dtype()}", where=file, allowed=", ".join(dtypes))
        return found


def _shards(index: Path) -> list[Path]:
    """The files an index names."""
    files = JsonObject.read(index).get("weight_map", None)
    if not isinstance(files, dict) or not files:
        raise InputError("'weight_map' is missing or empty", where=index, allowed="tensor names mapped to files")
    names = sorted({str(name) for name in files.values()})
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise InputError(f"weight_map names {name!r}", where=index, allowed="safetensors files of the same folder")
    return [index.parent / name for name in names]


def _open(file: Path) -> Any:  # safetensors leaves its handles untyped
    try:
        return safe_open(file, framework="pt", device="cpu")
    except FileNotFoundError:
        raise InputError("no such file", where=file, allowed=f"{_SINGLE}, or shards with {_INDEX}") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error}", where=file) from error
    except SafetensorError as error:
        raise InputError(f"not a whole safetensors file: {error}", where=file) from None
