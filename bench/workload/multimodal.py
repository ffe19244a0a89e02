"""Multimodal: single-turn requests with images before their text, drawn from measured lengths and counts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.core.sessions import Segment, Session, Turn
from bench.core.spec import MultimodalSpec
from bench.workload import field_draws
from bench.workload.picture_size import picture_segment
from bench.workload.profile import MultimodalProfile, load_profile
from bench.workload.stream import SessionStream


def draw_multimodal(spec: MultimodalSpec) -> SessionStream:
    """`spec.sessions` single-turn sessions. Raises InputError where the profile is not one."""
    profile = load_profile(spec.profile, MultimodalProfile)
    return SessionStream("multimodal profile", profile.attribution, _sessions(profile, spec))


def _sessions(profile: MultimodalProfile, spec: MultimodalSpec) -> Iterator[Session]:
    for_text, for_images, for_image, for_output = np.random.default_rng(spec.seed).spawn(4)
    texts = field_draws.counts(profile.text_tokens.table, for_text)
    images = field_draws.counts(profile.images.table, for_images)
    image_tokens = field_draws.counts(profile.image_tokens.table, for_image)
    outputs = field_draws.counts(profile.output_tokens.table, for_output)
    for index in range(spec.sessions):
        key = f"multimodal/{index}"
        pictures = [picture_segment(f"{key}/image-{number}", next(image_tokens)) for number in range(next(images))]
        prompt = (*pictures, Segment(f"{key}/text", next(texts)))
        yield Session(f"multimodal-{index:05d}", (Turn(0, prompt, next(outputs)),))
