"""The bytes of answers, rendered once and then only given a request's number.

A template is what stands between the places where an answer's number goes, so `number.join(template)` is the bytes.
Numbers have one width, so that the lengths of HTTP chunks can be part of a template.
"""

from __future__ import annotations

import json
import time
from functools import lru_cache
from typing import Any

from bench.engine.mock_server.answer import Answer, Part
from bench.engine.mock_server.logprobs import told_logprobs
from bench.engine.mock_server.settings import MODEL, MockServerSettings, ThinkingForm

NUMBER_DIGITS = 12
DONE = b"data: [DONE]\n\n"
LAST_CHUNK = b"0\r\n\r\n"
_NUMBER = "N" * NUMBER_DIGITS
"""Stands in for the number while a template is made: no other text there holds so many of this letter."""
_COUNTED_WORDS = 1000
"""Counted words begin again after so many, which bounds the templates there can be."""
_KEPT_TEMPLATES = 8192
_OPENS: dict[ThinkingForm, str] = {"tags": "<think>", "harmony": "<|channel|>analysis<|message|>"}
_CLOSES: dict[ThinkingForm, str] = {
    "tags": "</think>",
    "harmony": "<|end|><|start|>assistant<|channel|>final<|message|>",
}

Template = tuple[bytes, ...]


def http_chunk(payload: bytes) -> bytes:
    """A piece of a body whose length is not known ahead."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


class Frames:
    """What a server of these settings sends after its response heads."""

    def __init__(self, settings: MockServerSettings, model: str = MODEL) -> None:
        self._settings = settings
        self._model = model
        self._created = int(time.time())
        self._counted = lru_cache(_KEPT_TEMPLATES)(self._counted_tokens)
        self._ending = lru_cache(_KEPT_TEMPLATES)(self._end_of_body)
        self.role = _template(http_chunk(self._chunk(True, {"role": "assistant", "content": ""})))

    def tokens(self, answer: Answer, first: int, end: int) -> Template:
        """Events with tokens `first` to `end`, which are of one part."""
        chat, part = answer.asked.chat, answer.part(first)
        opens, closes = part == "thinking" and first == 0, end == answer.thinking
        logprobs = answer.asked.logprobs
        if answer.words:
            return self._tokens(chat, part, _words(answer, first, end), opens, closes, logprobs)
        return self._counted(chat, part, first % _COUNTED_WORDS, end - first, opens, closes, logprobs)

    def ending(self, answer: Answer) -> Template:
        """What follows the last token: the finish, the usage where it is told, and the end of the body."""
        asked = answer.asked
        usage = (asked.prompt_tokens, answer.tokens, answer.thinking, answer.cached_tokens)
        return self._ending(asked.chat, answer.finish, usage if answer.include_usage else None, answer.include_done)

    def whole(self, answer: Answer, number: bytes) -> bytes:
        """The JSON of an answer that is not streamed."""
        chat, thinking = answer.asked.chat, answer.thinking
        form = self._form(chat)
        thought = "".join(_words(answer, 0, thinking))
        if thinking and form in _OPENS:
            thought = _OPENS[form] + thought + _CLOSES[form]
        text = "".join(_words(answer, thinking, answer.tokens))
        said: dict[str, Any] = {"text": thought + text}
        if chat:
            message = {"role": "assistant", "content": text if form not in _OPENS else thought + text}
            if thinking and form not in _OPENS:
                message[form] = thought
            said = {"message": message}
        body = self._envelope(chat, "chat.completion")
        logprobs = _logprobs(chat, _words(answer, 0, answer.tokens), answer.asked.logprobs)
        body["choices"] = [{"index": 0, **said, "logprobs": logprobs, "finish_reason": answer.finish}]
        if answer.include_usage:
            body["usage"] = _usage(answer.asked.prompt_tokens, answer.tokens, thinking, answer.cached_tokens)
        return number.join(_template(_json(body)))

    def _counted_tokens(
        self, chat: bool, part: Part, begin: int, count: int, opens: bool, closes: bool, logprobs: int | None
    ) -> Template:
        words = [_counted_word(index) for index in range(begin, begin + count)]
        return self._tokens(chat, part, words, opens, closes, logprobs)

    def _tokens(
        self, chat: bool, part: Part, words: list[str], opens: bool, closes: bool, logprobs: int | None
    ) -> Template:
        form, size = self._form(chat), self._settings.tokens_per_event
        tokens = [words[at : at + size] for at in range(0, len(words), size)]
        texts = ["".join(event_words) for event_words in tokens]
        field = "content"
        if form in _OPENS:
            texts[0] = _OPENS[form] + texts[0] if opens else texts[0]
            texts[-1] = texts[-1] + _CLOSES[form] if closes else texts[-1]
        elif part == "thinking":
            field = form
        events = [
            self._chunk(chat, {field: text} if chat else text, logprobs=_logprobs(chat, event_words, logprobs))
            for text, event_words in zip(texts, tokens, strict=True)
        ]
        return _template(b"".join(map(http_chunk, events)))

    def _end_of_body(
        self, chat: bool, finish: str, usage: tuple[int, int, int, int] | None, include_done: bool
    ) -> Template:
        events = [self._chunk(chat, {} if chat else "", finish)]
        if usage is not None:
            told = self._envelope(chat, "chat.completion.chunk") | {"choices": [], "usage": _usage(*usage)}
            events.append(event(told))
        if include_done:
            events.append(DONE)
        return _template(b"".join(map(http_chunk, events)) + LAST_CHUNK)

    def _chunk(
        self, chat: bool, said: dict[str, str] | str, finish: str | None = None, logprobs: dict[str, Any] | None = None
    ) -> bytes:
        choice = {"index": 0, ("delta" if chat else "text"): said, "logprobs": logprobs, "finish_reason": finish}
        return event(self._envelope(chat, "chat.completion.chunk") | {"choices": [choice]})

    def _envelope(self, chat: bool, chat_object: str) -> dict[str, Any]:
        return {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{_NUMBER}",
            "object": chat_object if chat else "text_completion",
            "created": self._created,
            "model": self._model,
        }

    def _form(self, chat: bool) -> ThinkingForm:
        form = self._settings.thinking
        return form if chat or form in _OPENS else "tags"


def event(document: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % _json(document)


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _logprobs(chat: bool, words: list[str], most: int | None) -> dict[str, Any] | None:
    return None if most is None else told_logprobs(words, most, chat=chat)


def _usage(prompt: int, output: int, thinking: int, cached: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": thinking},
    }


def _words(answer: Answer, first: int, end: int) -> list[str]:
    """What tokens `first` to `end` say. The answer's first word follows the thinking, whatever that was."""
    words = answer.words
    if not words:
        return [_counted_word(index) for index in range(first, end)]
    begin = first - answer.thinking if first >= answer.thinking else first
    return [words[index % len(words)] for index in range(begin, begin + end - first)]


def _counted_word(index: int) -> str:
    return f" w{index % _COUNTED_WORDS}"


def _template(rendered: bytes) -> Template:
    return tuple(rendered.split(_NUMBER.encode()))
