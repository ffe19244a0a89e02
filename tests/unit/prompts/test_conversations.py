"""Prompts with words of their own: sent as they are, in the roles they have, shared as far as their tokens are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_turns import common_prefix
from tokenizers import Tokenizer

from bench.core.chat_template import ChatTemplate
from bench.core.errors import InputError
from bench.core.protocols import PromptForm
from bench.core.sessions import Message, Picture, Role, Segment, Turn
from bench.workload.prompts import PromptSynthesizer
from bench.workload.shared_prefix import SentTokens

FolderOf = Callable[[str, str], Path]
TINY = Path(__file__).parents[3] / "configs" / "models" / "tiny"
HISTORY = (
    Segment("system", 0, "system", "Answer briefly."),
    Segment("q1", 0, "user", "What is a generator?"),
    Segment("a1", 0, "assistant", "A function that yields."),
    Segment("q2", 0, "user", "And a "),
    Segment("q3", 0, "user", "coroutine?"),
)


def turn(*segments: Segment) -> Turn:
    return Turn(0, segments, 1)


def encoded(text: str) -> tuple[int, ...]:
    return tuple(Tokenizer.from_file(str(TINY / "tokenizer.json")).encode(text, add_special_tokens=False).ids)


def rendered(*messages: Message) -> str:
    template = ChatTemplate.from_folder(TINY)
    assert template is not None
    return template.render(messages)


def test_neighbours_of_one_role_are_one_message() -> None:
    prompt = PromptSynthesizer(TINY, "salt", framing=False, form="chat").realise(turn(*HISTORY))
    assert [(message.role, message.text) for message in prompt.messages] == [
        ("system", "Answer briefly."),
        ("user", "What is a generator?"),
        ("assistant", "A function that yields."),
        ("user", "And a coroutine?"),
    ]
    assert prompt.ids == encoded(rendered(*prompt.messages))


def test_texts_are_the_template_s_where_framed_and_otherwise_themselves() -> None:
    chat = PromptSynthesizer(TINY, "salt", framing=False, form="chat").realise(turn(*HISTORY))
    framed = PromptSynthesizer(TINY, "salt", framing=True, form="text").realise(turn(*HISTORY))
    plain = PromptSynthesizer(TINY, "salt", framing=False, form="text").realise(turn(*HISTORY))
    assert framed.messages == (Message("user", rendered(*chat.messages)),)
    assert framed.ids == chat.ids
    whole = "".join(segment.text or "" for segment in HISTORY)
    assert (plain.messages, plain.ids) == ((Message("user", whole),), encoded(whole))


def test_a_bos_stands_once(folder_of: FolderOf) -> None:
    prompts = PromptSynthesizer(folder_of("byte-level", "trimmed"), "salt", framing=True, form="text")
    prompt = prompts.realise(turn(*HISTORY))
    assert prompt.ids.count(0) == 1
    assert prompt.ids[0] == 0
    assert "<s>" not in prompt.messages[0].text


def test_tokens_are_those_of_each_segment_alone() -> None:
    texts = [segment.text or "" for segment in HISTORY]
    plain = PromptSynthesizer(TINY, "salt", framing=False).realise(turn(*HISTORY))
    assert plain.ids == tuple(id for text in texts for id in encoded(text))
    framed = PromptSynthesizer(TINY, "salt", framing=True).realise(turn(*HISTORY[:2]))
    # The template's text is cut where the words are; around words of this kind that changes no token.
    assert framed.ids == encoded(rendered(Message("system", texts[0]), Message("user", texts[1])))
    assert plain.messages == framed.messages == ()


@pytest.mark.parametrize("form", ["tokens", "text", "chat"])
def test_words_may_stand_among_drawn_tokens(form: PromptForm) -> None:
    prompts = PromptSynthesizer(TINY, "salt", framing=True, form=form)
    mixed = prompts.realise(turn(Segment("long", 300), Segment("q", 0, "user", "\n\nWhat is that?")))
    other = prompts.realise(turn(Segment("long", 300), Segment("q", 0, "user", "\n\nWho says so?")))
    assert 300 <= common_prefix(mixed.ids, other.ids) < len(mixed.ids)
    assert len(mixed.ids) - len(encoded(rendered(Message("user", "\n\nWhat is that?")))) in (299, 300, 301)


def test_pictures_stand_before_the_words_of_their_message() -> None:
    prompts = PromptSynthesizer(TINY, "salt", framing=False, form="chat", images=True)
    shown = Segment("photo", 256, "user", picture=Picture(64, 32))
    said = prompts.realise(turn(Segment("q", 0, "user", "What is this?"), shown))
    drawn = prompts.realise(turn(Segment("q", 100), shown))
    assert len(drawn.ids) == 356
    assert len(said.ids) == 256 + len(encoded(rendered(Message("user", "What is this?"))))
    (message,) = said.messages
    assert message.pictures == drawn.messages[0].pictures
    assert message.pictures[0].startswith(b"\x89PNG")
    assert prompts.realise(turn(Segment("q", 100), shown), play=1).messages[0].pictures != message.pictures


def test_pictures_are_shared_like_words() -> None:
    prompts = PromptSynthesizer(TINY, "salt", framing=False, form="chat", images=True)
    photos = [Segment(key, 256, picture=Picture(64, 32)) for key in ("photo", "other")]
    sent: list[tuple[int, ...]] = []
    for segments in ((photos[0],), (photos[0], Segment("q", 50)), photos, (Segment("r", 50), photos[0])):
        ids = prompts.realise(turn(*segments)).ids
        longest = max((common_prefix(ids, earlier) for earlier in sent), default=0)
        assert longest - 1 <= prompts.shared_tokens(turn(*segments)) <= longest
        sent.append(ids)


def test_pictures_are_tokens_where_the_engine_takes_none() -> None:
    prompts = PromptSynthesizer(TINY, "salt", framing=False, form="chat")
    prompt = prompts.realise(turn(Segment("photo", 256, picture=Picture(64, 32)), Segment("q", 40)))
    assert prompt.messages[0].pictures == ()
    assert len(prompt.ids) == 296


def test_each_play_after_the_first_begins_with_its_number() -> None:
    prompts = PromptSynthesizer(TINY, "salt", framing=False, form="chat")
    first, second, third = (prompts.realise(turn(*HISTORY), play) for play in range(3))
    assert [prompt.messages[0].text for prompt in (first, second, third)] == [
        "Answer briefly.",
        "1. Answer briefly.",
        "2. Answer briefly.",
    ]
    head = len(encoded("<|im_start|>system\n"))
    assert prompts.shared_tokens(turn(*HISTORY)) == 0
    assert prompts.shared_tokens(turn(*HISTORY), 1) == head == common_prefix(first.ids, second.ids)
    assert prompts.shared_tokens(turn(*HISTORY), 1) == len(second.ids)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=6), min_size=1, max_size=8),
    st.sampled_from(["tokens", "text", "chat"]),
    st.booleans(),
)
def test_shared_tokens_are_the_longest_prefix_any_earlier_prompt_has(
    conversations: list[list[str]], form: PromptForm, framing: bool
) -> None:
    prompts = PromptSynthesizer(TINY, "salt", framing=framing, form=form)
    roles: tuple[Role, Role] = ("user", "assistant")
    sent: list[tuple[int, ...]] = []
    for words in conversations:
        one = turn(*(Segment(word, 0, roles[place % 2], f" say {word}") for place, word in enumerate(words)))
        ids = prompts.realise(one).ids
        assert prompts.shared_tokens(one) == max((common_prefix(ids, earlier) for earlier in sent), default=0)
        sent.append(ids)


@given(st.lists(st.lists(st.integers(0, 300), max_size=6), max_size=12))
def test_sent_tokens_keep_what_any_later_prompt_may_share(prompts: list[list[int]]) -> None:
    sent = SentTokens()
    for place, ids in enumerate(prompts):
        longest = max((common_prefix(tuple(ids), tuple(earlier)) for earlier in prompts[:place]), default=0)
        assert sent.add(ids) == longest


def test_words_need_a_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"vocab_size": 5}')
    prompts = PromptSynthesizer(tmp_path, "salt", framing=False)
    assert len(prompts.realise(turn(Segment("a", 9))).ids) == 9
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        prompts.realise(turn(*HISTORY))
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        prompts.text_of([1])


def test_an_answer_reads_without_its_special_tokens() -> None:
    prompts = PromptSynthesizer(TINY, "salt", framing=False)
    assert prompts.text_of(encoded("<think>hm</think> Yes.<|im_end|>")) == "hm Yes."


def test_a_conversation_the_template_refuses_is_told(folder_of: FolderOf) -> None:
    refusing = "{{ messages[0].content }}{% if messages | length > 1 %}{{ raise_exception('one only') }}{% endif %}"
    prompts = PromptSynthesizer(folder_of("words", refusing), "salt", framing=False, form="chat")
    with pytest.raises(InputError, match="one only"):
        prompts.realise(turn(*HISTORY))
