"""From a model folder to a model that can step."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from neokernels.registry import Registry, Target
from torch import Tensor

from bench.native.batch import Batch
from bench.native.kv_pool import CacheShape, KvPool
from bench.native.model_config import ModelConfig
from bench.native.models import deepseek_v3, gpt_oss, llama, qwen3, qwen3_moe
from bench.native.models.decoder import Decoder, DecoderWeights
from bench.native.models.operations import Operations
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


def load_model(folder: Path, target: Target, registry: Registry, random_seed: int | None = None) -> Decoder:
    """The model of a Hugging Face folder where `target` says, with its operations resolved by `registry`.

    With `random_seed` its weights are made from that, and only its configuration is read. Raises InputError for a
    folder that is not a whole model of a known family, naming file, tensor and what was expected.
    """
    config = ModelConfig.from_folder(folder)
    files = _weights(folder, target, random_seed)
    matrix = (config.vocabulary, config.hidden)
    embedding = files.read({"model.embed_tokens.weight": matrix})
    operations = Operations.resolve(registry, target)
    read_layer = _READ_LAYER[config.family]
    weights = DecoderWeights(
        embedding=embedding,
        layers=tuple(read_layer(files, config, index, operations) for index in range(config.layers)),
        final_norm=files.read({"model.norm.weight": (config.hidden,)}),
        output=operations.prepare_linear(
            embedding if config.tied_embeddings else files.read({"lm_head.weight": matrix}), None
        ),
    )
    return Decoder(config, weights, operations, _cache_shape(config), files.bytes_read)


def _weights(folder: Path, target: Target, random_seed: int | None) -> WeightSource:
    if random_seed is None:
        return WeightFiles(folder, target.device, target.dtype)
    return RandomWeights(random_seed, target.device, target.dtype)


def _cache_shape(config: ModelConfig) -> CacheShape:
    if config.latent is None:
        return CacheShape(config.layers, config.kv_heads, config.head_dim, config.head_dim)
    return CacheShape(config.layers, config.kv_heads, config.latent.cached_dim, config.latent.rank, value_in_key=True)
