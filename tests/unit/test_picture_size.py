"""Pictures are as large as the tokens they count."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.workload.picture_size import PIXELS_PER_SIDE, picture_of


@given(st.integers(1, 100_000))
def test_a_picture_counts_its_tokens_within_half_a_row(tokens: int) -> None:
    picture = picture_of(tokens)
    columns, rest_of_columns = divmod(picture.width, PIXELS_PER_SIDE)
    rows, rest_of_rows = divmod(picture.height, PIXELS_PER_SIDE)
    assert rest_of_columns == rest_of_rows == 0
    assert abs(columns * rows - tokens) <= rows / 2
    assert rows <= columns <= rows + 2
