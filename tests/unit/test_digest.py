"""What names a model: its content, or the seed its weights are made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.digest import model_digest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_stored_model_is_named_by_every_file(folder: Path, name: str) -> None:
    before = model_digest(folder)
    (folder / name).write_text("other")
    assert model_digest(folder) != before


def test_a_random_model_is_named_by_its_seed_and_not_by_weights(folder: Path) -> None:
    seeded = model_digest(folder, random_seed=0)
    assert seeded not in (model_digest(folder), model_digest(folder, random_seed=1))
    (folder / "model.safetensors").unlink()
    assert model_digest(folder, random_seed=0) == seeded
    (folder / "config.json").write_text("other")
    assert model_digest(folder, random_seed=0) != seeded
