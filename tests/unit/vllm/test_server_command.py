"""What a suite says of a vLLM server, as the command that starts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import InputError
from bench.core.spec import VllmServerEngineSpec
from bench.engine.vllm_server.command import flags, server_arguments, server_command


def spec(**engine: Any) -> VllmServerEngineSpec:
    return VllmServerEngineSpec(kind="vllm-server", **engine)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"max_num_seqs": 64}, ["--max-num-seqs=64"]),
        ({"gpu_memory_utilization": 0.5, "dtype": "bfloat16"}, ["--gpu-memory-utilization=0.5", "--dtype=bfloat16"]),
        ({"enforce_eager": True}, ["--enforce-eager"]),
        ({"enable_prefix_caching": False}, ["--no-enable-prefix-caching"]),
        ({"disable_log_stats": False}, []),
        ({"disable_log_stats": True}, ["--disable-log-stats"]),
        ({"max_model_len": None}, []),
        ({"cudagraph_capture_sizes": [1, 2, 4]}, ["--cudagraph-capture-sizes", "1", "2", "4"]),
        ({"middleware": []}, []),
        ({"speculative_config": {"method": "ngram"}}, ['--speculative-config={"method": "ngram"}']),
        ({"lora_modules": [{"name": "a"}]}, ["--lora-modules", '{"name": "a"}']),
        ({"chat_template": "--odd"}, ["--chat-template=--odd"]),
    ],
)
def test_arguments_become_flags(arguments: dict[str, Any], words: list[str]) -> None:
    assert flags(arguments) == words


def test_a_request_is_sampled_as_it_asks_and_told_what_was_cached_unless_the_suite_says_otherwise() -> None:
    ours = {"generation_config": "vllm", "enable_prompt_tokens_details": True, "disable_uvicorn_access_log": True}
    assert server_arguments(spec(), random_weights=False) == ours
    theirs = server_arguments(spec(arguments={"generation-config": "auto"}), random_weights=False)
    assert theirs == {**ours, "generation_config": "auto"}


def test_random_weights_are_made_up_by_vllm() -> None:
    assert server_arguments(spec(), random_weights=True)["load_format"] == "dummy"
    with pytest.raises(InputError, match=r"reads weights, and model\.weights is random"):
        server_arguments(spec(arguments={"load_format": "safetensors"}), random_weights=True)


@pytest.mark.parametrize(
    ("argument", "allowed"),
    [
        ("model", "model.path"),
        ("port", "engine.port"),
        ("host", "127.0.0.1"),
        ("served-model-name", "a name of this run's own"),
        ("uds", "leave it out"),
        ("api_key", "leave it out"),
    ],
)
def test_what_has_another_place_is_refused(argument: str, allowed: str) -> None:
    with pytest.raises(InputError, match=f"^engine.arguments: .*{allowed}"):
        server_arguments(spec(arguments={argument: "x"}), random_weights=False)


def test_what_no_command_line_can_say_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be said on a command line"):
        server_arguments(spec(arguments={"when": Path("x")}), random_weights=False)


def test_the_command_names_the_model_the_place_and_the_name() -> None:
    command = server_command("/env/bin/python", Path("/m/tiny"), {"seed": 1}, port=8123, served_model="tiny-1")
    assert command[:2] == ("/env/bin/python", "-P")
    assert command[4:6] == ("serve", "/m/tiny")
    assert command[6:] == ("--served-model-name", "tiny-1", "--host", "127.0.0.1", "--port", "8123", "--seed=1")
