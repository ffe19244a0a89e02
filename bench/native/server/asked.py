"""From the body of a request to the turns that the engine is asked for."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from bench.core.sessions import Sampling, Segment, Turn, TurnRequest
from bench.native.server.answer_text import AnswerText
from bench.native.server.errors import ApiError
from bench.native.server.logprobs import LogprobsForm, TokenNames
from bench.native.server.marks import MarkReader
from bench.native.server.schema import GenerationRequest
from bench.native.server.service import Service
from bench.native.server.shapes import Shape

_SEEDS = 2**63
_LONG_CHARACTERS = 4096
"""What takes milliseconds to tokenize, and every other stream would wait for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it is carried out, whichever way it came."""

    turns: tuple[TurnRequest, ...]
    """One a choice: the answers to the first prompt, then those to the next."""
    body: GenerationRequest
    logprobs: int | None
    """How many of the most likely tokens are told beside each of the output; None tells no log probabilities."""
    shape: Shape
    """Of its answer."""

    @property
    def n(self) -> int:
        return self.body.n or 1

    @property
    def splits_thinking(self) -> bool:
        """The client is told thinking apart from the answer. Where EOS is ignored the engine heeds no marks."""
        return self.shape.splits_thinking and not self.body.ignore_eos

    def logprobs_form(self, service: Service) -> LogprobsForm | None:
        """What tells the log probabilities of one of its answers; None where they were not asked."""
        if self.logprobs is None:
            return None
        names = TokenNames(service.vocabulary, as_ids=bool(self.body.return_tokens_as_token_ids))
        return self.shape.logprobs(names, self.logprobs)

    def text(self, service: Service) -> AnswerText:
        """What reads one of its answers."""
        stops = self.body.stop or ()
        skip_special = self.body.skip_special_tokens is not False
        return AnswerText(
            service.vocabulary.detokenizer(skip_special=skip_special),
            stops=(stops,) if isinstance(stops, str) else stops,
            marks=MarkReader(service.marks) if self.splits_thinking else None,
            min_tokens=self.body.min_tokens or 0,
            endings=() if skip_special else service.endings,
        )


def check_model(body: GenerationRequest, service: Service) -> None:
    """Raises ApiError, status 404, for another model than the one that is served."""
    if body.model != service.model:
        raise ApiError(
            HTTPStatus.NOT_FOUND, f"the model here is {service.model}", param="model", code="model_not_found"
        )


def check_length(texts: Sequence[str], service: Service, max_tokens: int | None, prompt_field: str) -> None:
    """Raises ApiError for a text that is longer than the context whatever its tokens are: they are not looked for."""
    if service.longest_token is None:
        return
    context = service.engine.capabilities.max_context_tokens
    fewest = math.ceil(max(map(len, texts), default=0) / service.longest_token)
    if fewest >= context:
        raise _too_long(f"at least {fewest}", max_tokens, context, prompt_field)


async def encode(service: Service, text: str, *, special: bool) -> tuple[int, ...]:
    """The tokens of `text`; with `special`, those too that the model's prompts begin or end with."""
    tokenizer = service.tokenizer
    if len(text) < _LONG_CHARACTERS:
        return tuple(tokenizer.encode(text, add_special_tokens=special).ids)
    # Only batches are tokenized without the interpreter's lock.
    (encoding,) = await asyncio.to_thread(tokenizer.encode_batch_fast, [text], add_special_tokens=special)
    return tuple(encoding.ids)


def turns_of(
    body: GenerationRequest,
    service: Service,
    prompts: Sequence[tuple[int, ...]],
    shape: Shape,
    *,
    max_tokens: int | None,
    logprobs: int | None,
) -> tuple[TurnRequest, ...]:
    """`max_tokens` None is all that the context has room for. Raises ApiError for what the engine cannot do."""
    _check(body, service, logprobs)
    sampling = _sampling(body)
    request_id = f"{shape.id_prefix}-{secrets.token_hex(16)}"
    context = service.engine.capabilities.max_context_tokens
    turns = []
    for place, prompt_ids in enumerate(prompts):
        tokens = _room(prompt_ids, max_tokens, body.min_tokens or 0, context, shape.prompt_field)
        budget = body.thinking_token_budget
        turn = Turn(
            place,
            (Segment("prompt", len(prompt_ids)),),
            output_tokens=tokens,
            thinking_budget=None if budget is None or budget < 0 else budget,
        )
        request = TurnRequest(
            session_id=request_id,
            turn=turn,
            prompt_ids=prompt_ids,
            max_tokens=tokens,
            ignore_eos=bool(body.ignore_eos),
            sampling=sampling,
            logprobs=0 if logprobs is None else max(1, logprobs),
            min_tokens=body.min_tokens or 0,
        )
        seeds = (replace(sampling, seed=(sampling.seed + more) % _SEEDS) for more in range(body.n or 1))
        turns += [replace(request, sampling=seeded) for seeded in seeds]
    return tuple(turns)


def _check(body: GenerationRequest, service: Service, logprobs: int | None) -> None:
    if logprobs is not None and max(1, logprobs) > (most := service.engine.capabilities.logprobs):
        raise ApiError(HTTPStatus.BAD_REQUEST, f"at most {most} log probabilities are told here", param="logprobs")
    if body.ignore_eos and body.thinking_token_budget is not None and body.thinking_token_budget >= 0:
        raise ApiError(
            HTTPStatus.BAD_REQUEST,
            "with ignore_eos nothing ends the thinking: leave one of them out",
            param="thinking_token_budget",
        )


def _room(prompt_ids: Sequence[int], max_tokens: int | None, min_tokens: int, context: int, prompt_field: str) -> int:
    """How many tokens may be generated. Raises ApiError for a prompt without or with too many tokens."""
    if not prompt_ids:
        raise ApiError(HTTPStatus.BAD_REQUEST, "the prompt is empty", param=prompt_field, code="empty_request")
    left = context - len(prompt_ids)
    if left < (max_tokens or 1):
        raise _too_long(f"{len(prompt_ids)}", max_tokens, context, "max_tokens" if left > 0 else prompt_field)
    tokens = left if max_tokens is None else max_tokens
    if min_tokens > tokens:
        raise ApiError(HTTPStatus.BAD_REQUEST, f"more than the {tokens} of max_tokens", param="min_tokens")
    return tokens


def _too_long(prompt_tokens: str, max_tokens: int | None, context: int, param: str) -> ApiError:
    told = f"{prompt_tokens} prompt and {max_tokens or 1} output tokens in a context of {context}"
    return ApiError(HTTPStatus.BAD_REQUEST, told, param=param, code="context_length_exceeded")


def _sampling(body: GenerationRequest) -> Sampling:
    return Sampling(
        temperature=1.0 if body.temperature is None else body.temperature,
        seed=secrets.randbits(62) if body.seed is None else body.seed % _SEEDS,
        top_k=body.top_k if body.top_k is not None and body.top_k > 0 else None,
        top_p=1.0 if body.top_p is None else body.top_p,
        min_p=body.min_p or 0.0,
        repetition_penalty=body.repetition_penalty or 1.0,
        logit_bias=tuple((body.logit_bias or {}).items()),
    )
