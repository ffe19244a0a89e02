"""The committed tiny model, which the smoke suite relies on: any engine loads it, and it thinks, answers and ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase, Qwen3ForCausalLM

FOLDER = Path(__file__).parents[2] / "configs" / "models" / "tiny"
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]

QUESTION = "What does os.path.join do?"
JUMBLE = "garden {} \u00e9t\u00e9 seven 'lock' => returns of the 0x7f, unless None cat; write 12 iterators " * 3
LONG_JUMBLE = "queue the apple 31 returns (a, b) of not bytes. colour while ] socket " * 60


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model() -> Qwen3ForCausalLM:
    return AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()


def test_folder_is_small_and_whole() -> None:
    files = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= files.keys()
    assert sum(files.values()) <= 8_000_000


def test_config_is_qwen3_with_a_context_for_agent_sessions(model: Qwen3ForCausalLM) -> None:
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert config["max_position_embeddings"] == 65_536
    assert isinstance(model, Qwen3ForCausalLM)
    assert model.config.rope_parameters["rope_theta"] == config["rope_theta"]
    assert model.get_input_embeddings().weight.data_ptr() == model.get_output_embeddings().weight.data_ptr()


@pytest.mark.parametrize("token", SPECIAL_TOKENS)
def test_special_tokens_are_single_tokens(tokenizer: PreTrainedTokenizerBase, token: str) -> None:
    assert len(tokenizer.encode(f"a{token}b")) == len(tokenizer.encode("a")) + 1 + len(tokenizer.encode("b"))


@pytest.mark.parametrize("text", [QUESTION, JUMBLE, "  tabs\tand\nlines\r\n", "\u65e5\u672c\u8a9e \U0001f9ea"])
def test_any_text_survives_the_tokenizer(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_end_token_is_the_same_everywhere(tokenizer: PreTrainedTokenizerBase, model: Qwen3ForCausalLM) -> None:
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.eos_token_id == model.config.eos_token_id
    assert tokenizer.eos_token_id in model.generation_config.eos_token_id


def test_chat_template_renders_every_role(tokenizer: PreTrainedTokenizerBase) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Run it."},
        {"role": "assistant", "content": "Running."},
        {"role": "tool", "content": "exit 0"},
    ]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    turns = "".join(f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in messages)
    assert rendered == turns + "<|im_start|>assistant\n"


@pytest.mark.parametrize("message", [QUESTION, JUMBLE, LONG_JUMBLE], ids=["question", "jumble", "long jumble"])
def test_reply_thinks_answers_and_ends(
    tokenizer: PreTrainedTokenizerBase, model: Qwen3ForCausalLM, message: str
) -> None:
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": message}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        output = model.generate(**prompt, max_new_tokens=512, do_sample=False)
    reply = tokenizer.decode(output[0, prompt["input_ids"].shape[1] :])
    thinking, _, answer = reply.removeprefix("<think>").partition("</think>")
    assert reply.startswith("<think>")
    assert reply.count("<think>") == reply.count("</think>") == 1
    assert thinking.strip()
    assert answer.removesuffix("<|im_end|>").strip()
    assert reply.endswith("<|im_end|>")
