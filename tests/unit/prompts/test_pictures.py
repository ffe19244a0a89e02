"""Pictures are PNG files of the size that was asked for."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.sessions import Picture
from bench.workload.pictures import draw_png


def chunks(png: bytes) -> dict[bytes, bytes]:
    """The chunks of a PNG file by their kind, each with its checksum right."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    found, place = {}, 8
    while place < len(png):
        (length,) = struct.unpack_from(">I", png, place)
        body = png[place + 4 : place + 8 + length]
        assert struct.unpack_from(">I", png, place + 8 + length) == (zlib.crc32(body),)
        found[body[:4]], place = body[4:], place + 12 + length
    return found


@given(st.integers(1, 300), st.integers(1, 300))
def test_every_size_is_a_whole_picture(width: int, height: int) -> None:
    found = chunks(draw_png(Picture(width, height), "key"))
    assert next(iter(found)) == b"IHDR"
    assert list(found)[-1] == b"IEND"
    assert struct.unpack(">IIBBBBB", found[b"IHDR"]) == (width, height, 8, 3, 0, 0, 0)
    rows = zlib.decompress(found[b"IDAT"])
    assert len(rows) == height * (1 + width)
    assert {rows[row * (1 + width)] for row in range(height)} <= {0, 2}
    assert max(rows[1 : 1 + width]) < len(found[b"PLTE"]) // 3


@pytest.mark.parametrize("size", [(1, 1), (64, 48), (1024, 1024)])
def test_keys_tell_pictures_apart_and_files_are_small(size: tuple[int, int]) -> None:
    picture = Picture(*size)
    one, again, other = draw_png(picture, "a"), draw_png(picture, "a"), draw_png(picture, "b")
    assert one == again != other
    assert len(one) < 8192
