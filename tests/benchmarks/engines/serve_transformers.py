"""transformers' `generate` in this process."""

from __future__ import annotations

import time

from serving import Ask, Task, serve


def load(task: Task) -> Ask:
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.generation.streamers import BaseStreamer

    class Stamps(BaseStreamer):
        """Keeps when each step's tokens came; the first call brings the prompts."""

        def __init__(self) -> None:
            self.calls_ns: list[int] = []

        def put(self, value: torch.Tensor) -> None:
            self.calls_ns.append(time.monotonic_ns())

        def end(self) -> None:
            pass

    torch.set_num_threads(task.threads)
    model = AutoModelForCausalLM.from_pretrained(task.folder, dtype=torch.bfloat16).eval()
    model.generation_config = GenerationConfig(do_sample=False, pad_token_id=0)  # none of its tokens ends an answer

    @torch.inference_mode()
    def ask(prompts: list[list[int]], tokens: int) -> list[list[int]]:
        stamps = Stamps()
        ids = torch.tensor(prompts)
        model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, streamer=stamps)
        return [stamps.calls_ns[1:]] * len(prompts)

    return ask


if __name__ == "__main__":
    serve(load)
