"""Pictures of a prompt: PNG files of the asked size, drawn from a key."""

from __future__ import annotations

import hashlib
import struct
import zlib

from bench.core.sessions import Picture

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOURS = 16
_TILES = 8
"""Tiles on a side: enough for as many pictures as there are keys, and few enough for files of a few kilobytes."""
_SAME_AS_ABOVE = b"\x02"
"""The filter of a row that tells its difference to the one above."""


def draw_png(picture: Picture, key: str) -> bytes:
    """Coloured tiles. Equal keys and sizes are equal bytes; pictures of different keys differ."""
    drawn = hashlib.shake_128(key.encode()).digest(3 * _COLOURS + _TILES * _TILES)
    palette, tiles = drawn[: 3 * _COLOURS], drawn[3 * _COLOURS :]
    # Width, height, 8 bits a pixel, colours from a palette; the rest has one value each.
    header = struct.pack(">IIBBBBB", picture.width, picture.height, 8, 3, 0, 0, 0)
    rows = b"".join(_band(picture, tiles, band) for band in range(_TILES))
    # What is told apart by its colours alone would be lost on small pictures: the key is a comment too.
    comment = b"Comment\0" + hashlib.sha256(key.encode()).hexdigest().encode()
    chunks = ((b"IHDR", header), (b"tEXt", comment), (b"PLTE", palette), (b"IDAT", zlib.compress(rows, 6)))
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in (*chunks, (b"IEND", b"")))


def _band(picture: Picture, tiles: bytes, band: int) -> bytes:
    """The rows of one row of tiles: the first in full, the others by their filter."""
    first, end = (picture.height * edge // _TILES for edge in (band, band + 1))
    if first == end:
        return b""
    colours = [tiles[_TILES * band + x * _TILES // picture.width] % _COLOURS for x in range(picture.width)]
    return b"\0" + bytes(colours) + (_SAME_AS_ABOVE + bytes(picture.width)) * (end - first - 1)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
