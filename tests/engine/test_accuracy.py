"""The check of an engine against its model's reference: what passes, what does not, and what cannot be asked."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from bench.core.errors import InputError
from bench.core.spec import NativeEngineSpec
from bench.metrics.accuracy import judge
from bench.native import reference_cache
from bench.native.accuracy import Reference, compare, make_reference
from bench.native.load import load_engine
from bench.native.models.attention import GroupedQueryAttention
from bench.native.settings import EngineSettings

CPU = torch.device("cpu")
TINY = Path(__file__).parents[2] / "configs" / "models" / "tiny"


def described(folder: Path = TINY, random_seed: int | None = None, **changes: Any) -> dict[str, Any]:
    values = {"device": "cpu", "threads": 1, "kv_cache_tokens": 1024, **changes}
    settings = EngineSettings.of(NativeEngineSpec.model_validate(values).model_dump(exclude={"kind"}))
    return load_engine(folder, settings, random_seed).description


@pytest.fixture(scope="module")
def reference() -> Reference:
    return make_reference(TINY, CPU)


@pytest.mark.parametrize(
    ("changes", "precision"),
    [
        ({}, "float32"),
        ({"step_tokens": 5, "max_running": 2, "block_tokens": 7}, "float32"),
        ({"numerics": "batch_invariant"}, "float32"),
        ({"dtype": "bfloat16"}, "bfloat16"),
        ({"weight_format": "int8"}, "int8"),
        ({"weight_format": "fp8", "kv_dtype": "fp8"}, "fp8"),
        ({"weight_format": "mxfp4", "kv_dtype": "fp8"}, "mxfp4"),
        ({"weight_format": "nvfp4"}, "nvfp4"),
    ],
    ids=str,
)
def test_every_precision_stays_within_its_threshold(changes: dict[str, Any], precision: str) -> None:
    accuracy = judge(described(**changes))
    assert (accuracy.status, accuracy.precision) == ("passed", precision)
    assert accuracy.figures is not None
    assert accuracy.figures.tokens == 4 * 64


def test_a_fault_in_the_engine_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = GroupedQueryAttention.attend

    def wrong(self: GroupedQueryAttention, *step: Any) -> torch.Tensor:
        """Right in the reference and half as sharp in the engine, which is asked for other numerics."""
        engine = self.operations.target.numerics == "batch_invariant"
        return right(replace(self, scale=self.scale / 2) if engine else self, *step)

    monkeypatch.setattr(GroupedQueryAttention, "attend", wrong)
    accuracy = judge(described(numerics="batch_invariant"))
    assert accuracy.status == "failed"
    assert accuracy.reason is not None
    assert "KL" in accuracy.reason


def test_what_is_not_a_number_fails(reference: Reference) -> None:
    broken = reference.log_probabilities.clone()
    broken[0, 3] = math.nan
    figures = compare(broken, reference)
    assert figures.kl_mean is None
    described_as = {"dtype": "float32", "kv_dtype": "float32", "weight_format": "dense"}
    assert judge({**described_as, "accuracy": {"figures": asdict(figures)}}).status == "failed"


def test_a_model_whose_own_logits_are_not_numbers_fails_in_figures_a_record_can_hold(tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    weights["model.norm.weight"][3] = math.nan
    save_file(weights, tmp_path / "model" / "model.safetensors")
    accuracy = judge(described(tmp_path / "model"))
    assert (accuracy.status, accuracy.reason) == ("failed", "some logits are not numbers")
    assert json.loads(json.dumps(asdict(accuracy), allow_nan=False))["figures"]["reference_perplexity"] is None


def test_a_tokenizer_of_a_larger_vocabulary_is_refused(tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "model")
    config = json.loads((TINY / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps({**config, "vocab_size": 300}))
    with pytest.raises(
        InputError, match=r"tokenizer.json: encodes text as token \d+ \(allowed: .* vocabulary of 300\)"
    ):
        make_reference(tmp_path / "model", CPU)


def test_the_figures_are_those_of_the_definition(reference: Reference) -> None:
    shifted = (reference.log_probabilities * 1.1).log_softmax(-1)
    figures = compare(shifted, reference)
    p, q = reference.log_probabilities.double(), shifted.double()
    assert figures.kl_mean == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()))
    assert figures.top1_agreement == 1.0
    probes = torch.tensor(reference.probes)
    told = q[:, :-1].gather(-1, probes[:, 1:, None])
    assert figures.perplexity == pytest.approx(math.exp(-told.mean()))


def test_a_model_too_large_for_float32_is_read_layer_by_layer_and_kept(
    reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    bound = make_reference(TINY, CPU, most_bytes=1)
    assert bound.computed == "bfloat16, layer by layer"
    figures = compare(bound.log_probabilities, reference)
    assert figures.kl_mean is not None
    assert 0 < figures.kl_mean < 0.01
    (kept,) = (tmp_path / "neobench" / "references").iterdir()
    assert load_file(kept)["log_probabilities"].equal(bound.log_probabilities)
    monkeypatch.setattr(reference_cache, "save_file", None)
    assert make_reference(TINY, CPU, most_bytes=1).log_probabilities.equal(bound.log_probabilities)
    kept.write_bytes(b"cut short")
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert make_reference(TINY, CPU, most_bytes=1).log_probabilities.equal(bound.log_probabilities)


def test_a_reference_that_cannot_be_kept_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probes = ((1, 2),)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    (tmp_path / "taken").write_text("a file")
    assert reference_cache.kept(TINY, probes, lambda: torch.ones(2)).tolist() == [1, 1]

    def no_room(_: object, file: Path) -> None:
        file.write_bytes(b"cut short")
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(reference_cache, "save_file", no_room)
    assert reference_cache.kept(TINY, probes, lambda: torch.ones(2)).tolist() == [1, 1]
    assert not list((tmp_path / "neobench" / "references").iterdir())


def test_a_pool_smaller_than_the_texts_is_checked_with_their_beginnings() -> None:
    accuracy = judge(described(kv_cache_tokens=20, block_tokens=4))
    assert accuracy.status == "passed"
    assert accuracy.figures is not None
    assert accuracy.figures.tokens == 4 * 20


def test_random_weights_and_a_check_that_is_off_are_not_applicable() -> None:
    made_up = judge(described(random_seed=0))
    assert (made_up.status, made_up.reason) == ("not_applicable", "random weights")
    off = judge(described(check_accuracy=False))
    assert (off.status, off.reason) == ("not_applicable", "engine.check_accuracy is off")
    assert judge({"kind": "mock"}).status == "not_applicable"
