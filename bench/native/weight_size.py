"""How much memory a model's weights will take, known before any of it is taken.

A process that takes too much of a machine's memory is killed, not told; so this is asked beforehand.
"""

from __future__ import annotations

from pathlib import Path

import torch
from neokernels.linear import output_format
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
    config, narrower = model.config, _QUANTISED_BITS[target.weight_format] / 8 / target.dtype.itemsize
    embedding = config.vocabulary * config.hidden * target.dtype.itemsize
    output = embedding // ranks.size
    layers = model.parameter_bytes - embedding - (0 if config.tied_embeddings else output)
    if output_format(target.weight_format) != "dense":
        output = int(output * narrower)
    elif config.tied_embeddings:
        output = 0
    return embedding + output + int(layers * narrower)
