"""How much memory a model's weights will take, known before any of it is taken.

A process that takes too much of a machine's memory is killed, not told; so this is asked beforehand.
"""

from __future__ import annotations

from pathlib import Path

import torch
from neokernels.registry import Registry, Target, WeightFormat

from bench.native.models import load_model
from bench.native.parallel.collectives import NoCollectives
from bench.native.parallel.ranks import Ranks

_QUANTISED_BITS: dict[WeightFormat, float] = {"int8": 8, "fp8": 8, "mxfp4": 4 + 8 / 32, "nvfp4": 4 + 8 / 16}
"""Of one weight with its share of its block's scale; scales of whole rows are too few to count."""


def weight_bytes(folder: Path, target: Target, ranks: Ranks | None = None) -> int:
    """Bytes the weights of the model in `folder` take where `target` says: exact for dense ones, else within a percent.

    With `ranks` they are those of one of several. The model is built of its shapes alone, on a device that holds
    nothing. Raises InputError for a config that cannot be read.
    """
    nowhere = Target(torch.device("meta"), target.dtype)
    ranks = ranks or Ranks()
    model = load_model(folder, nowhere, Registry(), random_seed=0, collectives=NoCollectives(ranks))
    if target.weight_format == "dense":
        return model.parameter_bytes
    config, size = model.config, target.dtype.itemsize
    embedding = config.vocabulary * config.hidden * size
    # Quantised, a tied output projection is a matrix of its own.
    projections = model.parameter_bytes - embedding + (embedding // ranks.size if config.tied_embeddings else 0)
    return embedding + int(projections / size * _QUANTISED_BITS[target.weight_format] / 8)
