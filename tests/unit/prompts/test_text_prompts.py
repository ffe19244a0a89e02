"""Prompts in text and in messages come to exactly the tokens they are said to have, under every kind of tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_turns import common_prefix, turn
from tokenizers import Tokenizer, models, normalizers

from bench.core.chat_template import ChatTemplate
from bench.core.errors import InputError
from bench.core.protocols import PromptForm
from bench.core.sessions import Message, Prompt
from bench.workload.prompts import PromptSynthesizer

FolderOf = Callable[[str, str], Path]
TINY = Path(__file__).parents[3] / "configs" / "models" / "tiny"


def told(folder: Path, form: PromptForm, messages: tuple[Message, ...]) -> list[int]:
    """What a server makes of a prompt."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if form == "text":
        (message,) = messages
        return tokenizer.encode(message.text).ids
    template = ChatTemplate.from_folder(folder)
    assert template is not None
    return tokenizer.encode(template.render(messages), add_special_tokens=False).ids


def checked(folder: Path, form: PromptForm, prompt: Prompt, tokens: int) -> None:
    assert prompt.ids == tuple(told(folder, form, prompt.messages))
    assert len(prompt.ids) == tokens
    assert [message.role for message in prompt.messages] == ["user"]


SHAPES = [
    pytest.param("text", False, "plain", id="text"),
    pytest.param("text", True, "marked", id="text-framed"),
    pytest.param("text", True, "trimmed", id="text-framed-with-bos"),
    pytest.param("chat", False, "marked", id="chat"),
    pytest.param("chat", False, "trimmed", id="chat-trimmed"),
    pytest.param("chat", True, "plain", id="chat-without-marks"),
]


@pytest.mark.parametrize(("form", "framing", "template"), SHAPES)
def test_texts_come_to_their_tokens(
    kind: str, folder_of: FolderOf, form: PromptForm, framing: bool, template: str
) -> None:
    folder = folder_of(kind, template)
    prompts = PromptSynthesizer(folder, "run-1", framing, form)
    for tokens in (64, 65, 1000):
        checked(folder, form, prompts.realise(turn(("system", 40), (f"own {tokens}", tokens - 40))), tokens)
    checked(folder, form, prompts.realise(turn(*((f"b{n}", 16) for n in range(200)))), 3200)


@settings(deadline=None, max_examples=25)
@given(
    paths=st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=5), min_size=1, max_size=6),
    lengths=st.lists(st.integers(20, 40), min_size=5, max_size=5),
    plays=st.lists(st.integers(0, 2), min_size=6, max_size=6),
    shape=st.sampled_from([("text", False), ("text", True), ("chat", False)]),
)
def test_what_is_shared_is_the_longest_prefix_any_earlier_prompt_has(
    kind: str,
    folder_of: FolderOf,
    paths: list[list[int]],
    lengths: list[int],
    plays: list[int],
    shape: tuple[PromptForm, bool],
) -> None:
    form, framing = shape
    folder = folder_of(kind, "marked")
    prompts = PromptSynthesizer(folder, "salt", framing, form)
    sent: list[tuple[int, ...]] = []
    for path, play in zip(paths, plays, strict=False):
        one = turn(*((f"{path[: depth + 1]}", lengths[depth] + path[depth]) for depth in range(len(path))))
        prompt = prompts.realise(one, play)
        longest = max((common_prefix(prompt.ids, earlier) for earlier in sent), default=0)
        shared = prompts.shared_tokens(one, play)
        # Unrelated draws agree by chance, the more often the fewer words there are: three in a row hardly ever.
        assert shared <= longest <= shared + 3
        assert list(prompt.ids) == told(folder, form, prompt.messages)
        sent.append(prompt.ids)


def test_the_tiny_models_prompts_are_what_transformers_makes_of_them() -> None:
    from transformers import PreTrainedTokenizerFast  # takes seconds to import

    tokenizer = PreTrainedTokenizerFast.from_pretrained(TINY)
    prompts = PromptSynthesizer(TINY, "salt", framing=False, form="chat")
    for tokens in (30, 500):
        prompt = prompts.realise(turn(("a", tokens)))
        (message,) = prompt.messages
        chat = [{"role": message.role, "content": message.text}]
        assert tuple(tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]) == prompt.ids
        assert len(prompt.ids) == tokens


@pytest.mark.parametrize("form", ["text", "chat"])
def test_a_prompt_without_room_is_one_word(folder_of: FolderOf, form: PromptForm) -> None:
    folder = folder_of("byte-level", "marked")
    prompts = PromptSynthesizer(folder, "salt", framing=True, form=form)
    short = turn(("a", 2))
    prompt = prompts.realise(short)
    assert list(prompt.ids) == told(folder, form, prompt.messages)
    least = len(prompt.ids)
    assert least > 2
    assert len(prompts.realise(turn(("a", least))).ids) == least
    assert prompts.shared_tokens(short) == 0
    assert prompts.shared_tokens(short) == least


@pytest.mark.parametrize("form", ["tokens", "text", "chat"])
def test_a_key_of_two_lengths_shares_the_shorter(folder_of: FolderOf, form: PromptForm) -> None:
    prompts = PromptSynthesizer(folder_of("byte-level", "marked"), "salt", framing=False, form=form)
    ids = []
    for length, other in ((60, "x"), (80, "y"), (60, "z"), (80, "z")):
        one = turn(("k", length), (other, 40))
        ids.append(prompts.realise(one).ids)
        shared = prompts.shared_tokens(one)
        longest = max((common_prefix(ids[-1], earlier) for earlier in ids[:-1]), default=0)
        assert shared <= longest <= shared + 1
    assert common_prefix(ids[0], ids[1]) >= 60


def test_plays_and_salts_share_nothing_but_the_template(folder_of: FolderOf) -> None:
    prompts = PromptSynthesizer(folder_of("byte-level", "marked"), "salt", framing=True, form="chat")
    one = turn(("system", 100), ("a", 100))
    head = 0
    for play in (0, 1, 11):
        shared = prompts.shared_tokens(one, play)
        assert shared in (0, head) if play else shared == 0
        head = head or common_prefix(prompts.realise(one, 0).ids, prompts.realise(one, 1).ids)
        assert prompts.shared_tokens(one, play) == 200
    other = prompts.salted("another")
    assert other.shared_tokens(one) == 0
    assert common_prefix(other.realise(one).ids, prompts.realise(one).ids) <= head + 2
    assert head < 6


def test_a_tokenizer_without_lasting_words_is_told(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({f"w{number}": number for number in range(99)}, unk_token="w0"))
    tokenizer.normalizer = normalizers.Replace("w", "v")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match=r"tokenizer\.json: .*engine that is asked in token ids"):
        PromptSynthesizer(tmp_path, "salt", framing=False, form="text")


def test_a_chat_needs_a_template(tmp_path: Path, folder_of: FolderOf) -> None:
    text = (folder_of("words", "plain") / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(InputError, match=r"no chat template .*api: completions"):
        PromptSynthesizer(tmp_path, "salt", framing=False, form="chat")
