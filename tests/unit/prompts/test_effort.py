"""How hard a model is asked to think reaches its template in the words the template knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from bench.core.chat_template import ChatTemplate
from bench.core.protocols import PromptForm
from bench.core.sessions import Effort, Message, Segment, Turn
from bench.workload.prompts import PromptSynthesizer

FolderOf = Callable[[str, str], Path]
ASK = "{{ messages[0].content }}<|end|>"
LEVEL = "think {{ reasoning_effort | default('medium') }}<|end|>" + ASK
SWITCH = ASK + "{% if enable_thinking is defined and not enable_thinking %}so<|end|>{% endif %}"
TURN = Turn(0, (Segment("a", 200),), 1)


def text(folder: Path, effort: Effort | None, *, switches: bool = True) -> str:
    template = ChatTemplate.from_folder(folder)
    assert template is not None
    return template.render([Message("user", "why")], effort, switches=switches)


def test_a_template_is_told_what_it_reads(folder_of: FolderOf) -> None:
    level, switch = folder_of("byte-level", LEVEL), folder_of("byte-level", SWITCH)
    assert text(level, None) == "think medium<|end|>why<|end|>"
    assert text(level, "high") == "think high<|end|>why<|end|>"
    assert text(switch, None) == text(switch, "low") == text(switch, "high") == "why<|end|>"
    assert text(switch, "minimal") == "why<|end|>so<|end|>"
    assert text(switch, "minimal", switches=False) == "why<|end|>"


@pytest.mark.parametrize("form", ["tokens", "text", "chat"])
@pytest.mark.parametrize("template", [LEVEL, SWITCH])
def test_totals_stay_exact_at_every_effort(folder_of: FolderOf, form: PromptForm, template: str) -> None:
    folder = folder_of("byte-level", template)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    prompts = PromptSynthesizer(folder, "salt", framing=True, form=form)
    efforts: tuple[Effort | None, ...] = (None, "minimal", "low", "medium", "high")
    for effort in efforts:
        prompt = prompts.realise(replace(TURN, effort=effort))
        assert len(prompt.ids) == 200
        if form == "text":
            assert prompt.ids == tuple(tokenizer.encode(prompt.messages[0].text).ids)
        if form == "chat":
            whole = text(folder, effort, switches=False).replace("why", prompt.messages[0].text)
            assert prompt.ids == tuple(tokenizer.encode(whole, add_special_tokens=False).ids)


def test_prompts_of_two_efforts_share_what_their_templates_do(folder_of: FolderOf) -> None:
    level = PromptSynthesizer(folder_of("byte-level", LEVEL), "salt", framing=True)
    switch = PromptSynthesizer(folder_of("byte-level", SWITCH), "salt", framing=True)
    for prompts in (level, switch):
        low, minimal = (replace(TURN, effort=effort) for effort in ("low", "minimal"))
        ids = [prompts.realise(one).ids for one in (low, minimal)]
        longest = next(place for place, (a, b) in enumerate(zip(*ids, strict=True)) if a != b)
        assert prompts.shared_tokens(low) == 0
        assert prompts.shared_tokens(minimal) == longest
        assert prompts.shared_tokens(minimal) == 200
