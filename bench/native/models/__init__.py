"""From a model folder to a model that can step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from neokernels.formats.magnitude import NotFiniteError
from neokernels.linear import output_format
from neokernels.registry import AttentionShape, Registry, Target
from torch import Tensor

from bench.core.errors import InputError
from bench.native.batch import Batch
from bench.native.kv_pool import CacheShape, KvPool
from bench.native.model_config import ModelConfig
from bench.native.models import deepseek_v3, gpt_oss, llama, qwen3, qwen3_moe
from bench.native.models.decoder import Decoder, DecoderWeights
from bench.native.models.kept import kept_bytes
from bench.native.models.layer import Layer, Norm
from bench.native.models.operations import Operations
from bench.native.models.streamed import StreamedLayers
from bench.native.parallel.collectives import Collectives, NoCollectives
from bench.native.parallel.shards import Shards
from bench.native.random_weights import RandomWeights
from bench.native.weights import WeightFiles, WeightSource

_READ_LAYER = {
    "llama": llama.read_layer,
    "qwen3": qwen3.read_layer,
    "qwen3_moe": qwen3_moe.read_layer,
    "gpt_oss": gpt_oss.read_layer,
    "deepseek_v3": deepseek_v3.read_layer,
}


class Model(Protocol):
    """What the engine steps, whatever its family."""

    @property
    def config(self) -> ModelConfig: ...

    @property
    def cache_shape(self) -> CacheShape:
        """What it keeps of each token."""

    @property
    def parameter_bytes(self) -> int:
        """Bytes of all weights as they lie on the device; a shared tensor counts once."""

    def experts_touched(self) -> Tensor | None:
        """How many experts the steps so far sent some token to, each counted once a layer and step: [] int64.

        It stands on the device, where no one has to wait for it. None for a model that routes nothing.
        """

    def forward(self, batch: Batch, kv: KvPool) -> Tensor:
        """Compute the batch's tokens and write their keys and values into `kv`.

        Returns the logits of the batch's `logit_rows`, [L, V] float32.
        """


def load_model(
    folder: Path,
    target: Target,
    registry: Registry,
    random_seed: int | None = None,
    *,
    streamed: bool = False,
    collectives: Collectives | None = None,
) -> Decoder:
    """The model of a Hugging Face folder where `target` says, with its operations resolved by `registry`.

    With `random_seed` its weights are made from that, and only its configuration is read. A `streamed` model keeps two
    layers at a time and reads them again in every step. With `collectives` it is the part of one of several ranks.
    Raises InputError for a folder that is not a whole model of a known family, naming file, tensor and what was
    expected.
    """
    config = ModelConfig.from_folder(folder)
    collectives = collectives or NoCollectives()
    shards = Shards.of(config, collectives.ranks)
    files = _weights(folder, target, random_seed, shards)
    matrix, out = (config.vocabulary, config.hidden), "lm_head.weight"
    embedding = files.read({"model.embed_tokens.weight": matrix})
    attention = AttentionShape(config.head_dim, sinks=config.family == "gpt_oss", latent=config.latent is not None)
    operations = Operations.resolve(registry, replace(target, attention=attention))

    def read_layer(index: int) -> Layer:
        with _finite(f"layer {index}", folder):
            return _READ_LAYER[config.family](files, config, index, operations)

    with _finite("the output projection", folder):
        matrix_out = embedding[shards.part(out, matrix)] if config.tied_embeddings else files.read({out: matrix})
        output = operations.prepare_output(matrix_out, None)

    weights = DecoderWeights(
        embedding=embedding,
        layers=StreamedLayers(read_layer, config.layers) if streamed else tuple(map(read_layer, range(config.layers))),
        final_norm=Norm(files.read({"model.norm.weight": (config.hidden,)}), config.rms_eps, operations.add_norm()),
        output=output,
    )
    dense = target.weight_format == "dense"
    parameter_bytes = files.bytes_read if dense else _kept_bytes(weights, config, target)
    kept = _cache_shape(config, shards.local_kv_heads)
    return Decoder(config, weights, operations, kept, parameter_bytes, collectives)


def _kept_bytes(weights: DecoderWeights, config: ModelConfig, target: Target) -> int:
    shared = config.tied_embeddings and output_format(target.weight_format) == "dense"
    return kept_bytes(weights) - (weights.output.nbytes if shared else 0)


@contextmanager
def _finite(what: str, folder: Path) -> Iterator[None]:
    """Says where a weight lies that a format has no bits for."""
    try:
        yield
    except NotFiniteError:
        raise InputError(
            f"a weight of {what} is NaN or infinite", where=folder, allowed="finite weights, unless they are kept dense"
        ) from None


def _weights(folder: Path, target: Target, random_seed: int | None, shards: Shards) -> WeightSource:
    if random_seed is None:
        return WeightFiles(folder, target.device, target.dtype, shards)
    return RandomWeights(random_seed, target.device, target.dtype, shards)


def _cache_shape(config: ModelConfig, kv_heads: int) -> CacheShape:
    if config.latent is None:
        return CacheShape(config.layers, kv_heads, config.head_dim, config.head_dim)
    return CacheShape(config.layers, kv_heads, config.latent.cached_dim, config.latent.rank, value_in_key=True)
