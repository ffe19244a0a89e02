"""Prompts have exactly the tokens the workload says, share exactly what it says, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prompt_turns import common_prefix, turn
from tokenizers import Tokenizer, models, pre_tokenizers

from bench.core.errors import InputError
from bench.core.sessions import Turn
from bench.workload.prompts import PromptSynthesizer

SPECIAL = ["<|user|>", "<|end|>", "<|assistant|>", "<|never|>"]
TEMPLATE = (
    "{% for m in messages %}<|user|> {{ m.content }} <|end|>{% endfor %}"
    "{% if add_generation_prompt %} <|assistant|> think{% endif %}"
)
HEAD, TAIL = 1, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("model"), {"chat_template": TEMPLATE})


def model_folder(folder: Path, config: dict[str, object] | None) -> Path:
    words = {word: index for index, word in enumerate(["think", *(f"w{n}" for n in range(20_000)), "<|never|>"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(folder / "tokenizer.json"))
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def test_counts_are_exact_and_equal_keys_are_equal_tokens(folder: Path) -> None:
    prompts = PromptSynthesizer(folder, "run-1", framing=False)
    first = prompts.realise(turn(("system", 300), ("a", 41))).ids
    second = prompts.realise(turn(("system", 300), ("b", 1))).ids
    assert (len(first), len(second)) == (341, 301)
    assert common_prefix(first, second) == 300
    assert first == PromptSynthesizer(folder, "run-1", framing=False).realise(turn(("system", 300), ("a", 41))).ids


def test_another_salt_shares_nothing(folder: Path) -> None:
    one, other = (
        PromptSynthesizer(folder, salt, framing=False).realise(turn(("a", 500))).ids for salt in ("run-1", "run-2")
    )
    assert sum(x == y for x, y in zip(one, other, strict=True)) < 5


def test_special_tokens_are_never_drawn(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    special = {tokenizer.token_to_id(token) for token in SPECIAL}
    drawn = PromptSynthesizer(folder, "salt", framing=False).realise(turn(("a", 400_000))).ids
    assert not special & set(drawn)
    assert len(set(drawn)) == tokenizer.get_vocab_size() - len(special)


def test_framing_takes_its_room_from_both_ends(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    framed, plain = (PromptSynthesizer(folder, "salt", framing=framing) for framing in (True, False))
    assert framed.framed
    assert not plain.framed
    ids, drawn = (prompts.realise(turn(("a", 3), ("b", 9))).ids for prompts in (framed, plain))
    assert len(ids) == len(drawn) == 12
    assert [tokenizer.id_to_token(i) for i in (*ids[:HEAD], *ids[-TAIL:])] == [*SPECIAL[:3], "think"]
    assert ids[HEAD:-TAIL] == drawn[HEAD:-TAIL]


def test_a_prompt_too_short_for_framing_stays_as_drawn(folder: Path) -> None:
    framed, plain = (PromptSynthesizer(folder, "salt", framing=framing) for framing in (True, False))
    short, enough = turn(("a", HEAD + TAIL)), turn(("a", HEAD + TAIL + 1))
    assert framed.realise(short).ids == plain.realise(short).ids
    assert framed.realise(enough).ids != plain.realise(enough).ids


@pytest.mark.parametrize(
    ("config", "framed"),
    [
        (None, False),
        ({}, False),
        ({"chat_template": [{"name": "tool_use", "template": "x"}, {"name": "default", "template": TEMPLATE}]}, True),
        ({"chat_template": "{{ bos_token }}" + TEMPLATE, "bos_token": {"content": "w7"}}, True),
        ({"chat_template": "{{ strftime_now('%d') }}" + TEMPLATE}, True),
        ({"chat_template": "{% generation %}{% endgeneration %}" + TEMPLATE}, True),
        ({"chat_template": "{% if tools is not none %}{{ raise_exception('no') }}{% endif %}" + TEMPLATE}, True),
    ],
)
def test_templates_as_models_ship_them(tmp_path: Path, config: dict[str, object] | None, framed: bool) -> None:
    assert PromptSynthesizer(model_folder(tmp_path, config), "salt", framing=True).framed is framed


def test_a_template_file_comes_before_the_configuration(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, {"chat_template": "no message"})
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    assert PromptSynthesizer(folder, "salt", framing=True).framed


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in", "cannot be rendered"),
        ("{{ raise_exception('only tools here') }}", "only tools here"),
        ("no message", "shows the user's message 0 times"),
        ("{{ messages[0].content * 2 }}", "shows the user's message 2 times"),
        ("{{ messages[4].content.text }}", "cannot be rendered"),
        ({"default": "x"}, "chat_template is a dict"),
    ],
)
def test_a_template_that_cannot_frame_is_told(tmp_path: Path, template: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        PromptSynthesizer(model_folder(tmp_path, {"chat_template": template}), "salt", framing=True)


def test_without_a_tokenizer_every_id_of_the_vocabulary_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"vocab_size": 5}')
    prompt = PromptSynthesizer(tmp_path, "salt", framing=False).realise(turn(("a", 200))).ids
    assert len(prompt) == 200
    assert set(prompt) == set(range(5))


def test_answers_that_end_themselves_need_a_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"vocab_size": 5}')
    with pytest.raises(InputError, match=r"no tokenizer\.json .*length_mode: pinned"):
        PromptSynthesizer(tmp_path, "salt", framing=True)


@pytest.mark.parametrize("config", [None, "{", "[]", "{}", '{"vocab_size": "many"}', '{"vocab_size": 0}'])
def test_a_vocabulary_of_unknown_size_is_told(tmp_path: Path, config: str | None) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(InputError, match=r"config\.json: .*vocab") as caught:
        PromptSynthesizer(tmp_path, "salt", framing=False)
    assert "\n" not in str(caught.value)


def test_a_broken_tokenizer_is_told(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="not a tokenizer"):
        PromptSynthesizer(tmp_path, "salt", framing=False)


@st.composite
def prompts_of_a_run(draw: st.DrawFn) -> list[Turn]:
    """Prompts over few keys, each key always at the same place with the same length."""
    paths = draw(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=5), min_size=1, max_size=8))
    lengths = draw(st.lists(st.integers(1, 9), min_size=5, max_size=5))
    return [
        turn(*((f"{path[: depth + 1]}", lengths[depth] + path[depth]) for depth in range(len(path)))) for path in paths
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(prompts_of_a_run(), st.booleans())
def test_shared_tokens_is_the_longest_prefix_any_earlier_prompt_has(
    folder: Path, turns: list[Turn], framing: bool
) -> None:
    prompts = PromptSynthesizer(folder, "salt", framing=framing)
    sent: list[tuple[int, ...]] = []
    for each in turns:
        ids = prompts.realise(each).ids
        longest = max((common_prefix(ids, earlier) for earlier in sent), default=0)
        shared = prompts.shared_tokens(each)
        # Two unrelated draws agree by chance once in 20,000.
        assert shared <= longest <= shared + 1
        sent.append(ids)


def test_segments_dropped_from_memory_come_back_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.workload.draws._KEPT_TOKENS", 100)
    prompts = PromptSynthesizer(folder, "salt", framing=False)
    first = prompts.realise(turn(("a", 80))).ids
    prompts.realise(turn(("b", 80), ("c", 300)))
    assert prompts.realise(turn(("a", 80))).ids == first
