"""From token ids to text, token by token: no piece ever changes, and together they are what the tokenizer decodes."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Collection
from typing import Protocol

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel

_REPLACEMENT = "\ufffd"
"""What stands in a text for bytes that are no character, or not yet one."""
_MOST_HELD = 16
"""Tokens kept back for the character they may begin, where only the text tells: more than the bytes of any."""
_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")


class Detokenizer(Protocol):
    """One output as it becomes text."""

    def add(self, token_id: int) -> str:
        """The text that is settled now that this token has come; it may be empty."""

    def flush(self) -> str:
        """What was kept back, when whatever comes next is no part of the same text."""


class Vocabulary:
    """What the tokens of a tokenizer read. Each is looked up once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder().items()
        self.special = special = frozenset(token_id for token_id, token in added if token.special)
        self._by_bytes = isinstance(tokenizer.decoder, ByteLevel)
        self._bytes = {skip: _TokenBytes(tokenizer, special if skip else ()) for skip in (False, True)}
        self._places = {skip: _TokenPlaces(tokenizer, special if skip else ()) for skip in (False, True)}

    def detokenizer(self, *, skip_special: bool) -> Detokenizer:
        """With `skip_special` the tokens that the tokenizer calls special read as nothing."""
        if self._by_bytes:
            return _ByteText(self._bytes[skip_special])
        return _WindowText(self._tokenizer.decode, self._places[skip_special])

    def bytes_of(self, token_id: int) -> bytes:
        """What a token reads alone; it need not be whole characters."""
        if self._by_bytes:
            return self._bytes[False][token_id]
        token = self._tokenizer.id_to_token(token_id)
        if token is not None and _BYTE_TOKEN.fullmatch(token):
            return bytes.fromhex(token[3:5])
        text: str = self._tokenizer.decode([token_id], skip_special_tokens=False)
        return text.encode()


class _TokenBytes(dict[int, bytes]):
    """The bytes of each token under a byte-level decoder; none for tokens that read as nothing."""

    def __init__(self, tokenizer: Tokenizer, silent: Collection[int]) -> None:
        super().__init__(dict.fromkeys(silent, b""))
        self._tokenizer = tokenizer

    def __missing__(self, token_id: int) -> bytes:
        token = self._tokenizer.id_to_token(token_id) or ""
        try:
            read = bytes([_LETTERS[letter] for letter in token])
        except KeyError:  # an added token, which is text as it stands
            read = token.encode()
        self[token_id] = read
        return read


class _ByteText:
    """A byte-level tokenizer's text is its tokens' bytes, read as UTF-8."""

    __slots__ = ("_bytes", "_decode")

    def __init__(self, token_bytes: _TokenBytes) -> None:
        self._bytes = token_bytes
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def add(self, token_id: int) -> str:
        return self._decode(self._bytes[token_id])

    def flush(self) -> str:
        return self._decode(b"", True)


class _TokenPlaces(dict[int, str]):
    """Whether a token is `silent`, one `byte` of a run of them, or other `text`."""

    def __init__(self, tokenizer: Tokenizer, silent: Collection[int]) -> None:
        super().__init__(dict.fromkeys(silent, "silent"))
        self._tokenizer = tokenizer

    def __missing__(self, token_id: int) -> str:
        token = self._tokenizer.id_to_token(token_id)
        reads_as = "text" if token is None or not _BYTE_TOKEN.fullmatch(token) else "byte"
        self[token_id] = place = "silent" if token is None else reads_as
        return place


class _WindowText:
    """Decodes the newest tokens behind those before them, on which it depends what they read.

    A run of byte tokens is told when it has ended: what its first bytes read depends on its last, since decoders of
    this kind replace every byte of a run that is not UTF-8 as a whole.
    """

    __slots__ = ("_decode", "_held", "_places", "_told")

    def __init__(self, decode: Callable[..., str], places: _TokenPlaces) -> None:
        self._decode = decode
        self._places = places
        self._told: list[int] = []
        """The tokens that were told last."""
        self._held: list[int] = []

    def add(self, token_id: int) -> str:
        place = self._places[token_id]
        if place == "silent":
            return ""
        self._held.append(token_id)
        return "" if place == "byte" else self._tell(keep=len(self._held) < _MOST_HELD)

    def flush(self) -> str:
        return self._tell(keep=False) if self._held else ""

    def _tell(self, *, keep: bool) -> str:
        text = self._decode([*self._told, *self._held], skip_special_tokens=False)
        if keep and text.endswith(_REPLACEMENT):
            return ""
        before = self._decode(self._told, skip_special_tokens=False) if self._told else ""
        self._told, self._held = self._held, []
        return text[len(before) :]


def _byte_letters() -> dict[str, int]:
    """The letter that byte-level tokenizers write for each byte: its own where that is printed, else one from 256."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {chr(256 + place): byte for place, byte in enumerate(others)}


_LETTERS = _byte_letters()
