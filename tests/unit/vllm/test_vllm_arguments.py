"""vLLM's arguments for what a suite asks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.engine.vllm_process.arguments import engine_arguments, refused
from bench.engine.vllm_process.messages import Start


@dataclass
class Known:
    """Some of vLLM's."""

    model: str
    load_format: str = "auto"
    skip_tokenizer_init: bool = False
    disable_log_stats: bool = False
    max_num_seqs: int = 8


def start(folder: Path, *, random_weights: bool = False, **arguments: Any) -> Start:
    return Start(str(folder), random_weights, arguments)


def test_the_suites_go_before_ours_and_only_what_this_vllm_has_is_ours(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    assert engine_arguments(start(tmp_path), Known) == {"disable_log_stats": True, "model": str(tmp_path)}
    asked = engine_arguments(start(tmp_path, disable_log_stats=False, max_num_seqs=2), Known)
    assert asked == {"disable_log_stats": False, "max_num_seqs": 2, "model": str(tmp_path)}


def test_a_folder_without_a_tokenizer_is_asked_without_one(tmp_path: Path) -> None:
    assert engine_arguments(start(tmp_path), Known)["skip_tokenizer_init"] is True


def test_random_weights_are_vllms_dummies_and_no_other_format(tmp_path: Path) -> None:
    assert engine_arguments(start(tmp_path, random_weights=True), Known)["load_format"] == "dummy"
    refusal = refused(start(tmp_path, random_weights=True, load_format="gguf"), Known)
    assert refusal is not None
    assert (refusal.where, refusal.allowed) == ("engine.arguments.load_format", "model.weights: stored")
    assert refused(start(tmp_path, random_weights=True, load_format="dummy"), Known) is None
    assert refused(start(tmp_path, load_format="gguf"), Known) is None


def test_a_name_written_as_on_a_command_line_is_refused_with_the_one_that_is_meant(tmp_path: Path) -> None:
    refusal = refused(start(tmp_path, **{"max-num-seqs": 4}), Known)
    assert refusal is not None
    assert (refusal.where, refusal.allowed) == ("engine.arguments.max-num-seqs", "max_num_seqs")
