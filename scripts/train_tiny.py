"""Trains the tiny Qwen3-architecture model of `configs/models/tiny` on a CPU, from nothing, in a quarter of an hour.

    python scripts/train_tiny.py --out configs/models/tiny

The model is no use for its knowledge. It is there so that tests and the smoke suite meet what real reasoning models do:
it opens with <think>, closes with </think>, answers, and ends by itself, at lengths that vary. Needs the `test` extra.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tiny_corpus import IM_END, IM_START, SPECIAL_TOKENS, Conversations, Entry, Piece, entries
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import Qwen3Config, Qwen3ForCausalLM

SEED = 20
VOCABULARY = 2048
CONTEXT = 65_536
TOKENS_PER_STEP = 4096
ROW_LENGTHS = (256, 256, 256, 512, 512, 512, 512, 1024, 2048, 4096)
STEPS = 1200
PEAK_LEARNING_RATE = 3e-3
LONGEST_STRETCHED = 1024
MOST_REPEATS = 200
NO_TARGET = -100

CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "vocab_size": VOCABULARY,
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "hidden_act": "silu",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "rope_scaling": None,
    "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": True,
    "initializer_range": 0.02,
    "use_cache": True,
    "use_sliding_window": False,
    "sliding_window": None,
    "torch_dtype": "bfloat16",
    "bos_token_id": None,
    "eos_token_id": SPECIAL_TOKENS.index(IM_END),
    "pad_token_id": 0,
}

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    f"{{{{ '{IM_START}' + message.role + '\\n' + message.content + '{IM_END}\\n' }}}}"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{{{{ '{IM_START}assistant\\n' }}}}{{% endif %}}"
)


def train_tokenizer(corpus: list[Entry]) -> Tokenizer:
    """A byte-level BPE tokenizer whose first ids are the special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (text for entry in corpus for text in (f"It is about {entry.name}.", entry.summary, entry.docstring))
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


@dataclass(frozen=True)
class Batch:
    """Rows of one length; every tensor is [rows, length]."""

    inputs: torch.Tensor
    targets: torch.Tensor
    """The next token, or NO_TARGET."""
    repeats: torch.Tensor
    """How many tokens each one stands for: more than 1 where a jumble plays a longer one."""

    def positions(self) -> torch.Tensor:
        return self.repeats.cumsum(1) - 1

    def attention_mask(self) -> torch.Tensor:
        """Causal, a token's key counting as often as the tokens it stands for: exp(score + log n) = n exp(score).

        Attention over tens of thousands of jumbled tokens is thus practised at the cost of hundreds.
        """
        if bool((self.repeats == 1).all()):
            # Said outright, because transformers guesses borders between packed rows from positions alone.
            return torch.ones_like(self.inputs)
        length = self.inputs.shape[1]
        future = torch.full((length, length), -torch.inf).triu(1)
        return future + self.repeats.log()[:, None, None, :]


def batches(conversations: Conversations) -> Iterator[Batch]:
    """Endless batches of TOKENS_PER_STEP tokens; every second one of short rows has its jumbles stretched."""
    generator = torch.Generator().manual_seed(SEED)
    while True:
        length = ROW_LENGTHS[int(torch.randint(len(ROW_LENGTHS), (1,), generator=generator))]
        stretched = length <= LONGEST_STRETCHED and torch.rand((), generator=generator) < 0.5
        rows = [flat(conversations.row(length + 1), length + 1) for _ in range(TOKENS_PER_STEP // length)]
        ids, learned, jumbled = torch.tensor(rows).unbind(1)
        targets = ids.where(learned == 1, NO_TARGET)
        most = ((CONTEXT - length) / jumbled.sum(1, keepdim=True).clamp(min=1)).clamp(max=MOST_REPEATS)
        drawn = torch.rand(len(rows), 1, generator=generator) if stretched else torch.zeros(len(rows), 1)
        repeats = torch.where(jumbled == 1, (most**drawn).long(), 1)
        yield Batch(ids[:, :-1], targets[:, 1:], repeats[:, :-1])


def flat(pieces: list[Piece], length: int) -> list[list[int]]:
    """Three lists of `length`: token ids, and 1 or 0 for learned and for jumbled."""
    tokens = [(token, int(p.learned), int(p.jumbled)) for p in pieces for token in p.token_ids]
    return [list(column) for column in zip(*tokens[:length], strict=True)]


def train(model: Qwen3ForCausalLM, conversations: Conversations, minutes: float) -> float:
    """Trains until STEPS or the time is up, whichever is first; returns the mean loss (nats) of the last 100 steps."""
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
    started, losses = time.monotonic(), []
    for step, batch in enumerate(batches(conversations)):
        elapsed = (time.monotonic() - started) / 60
        # On a slow machine the schedule shortens rather than stopping at a high learning rate.
        progress = max(step / STEPS, elapsed / minutes)
        if progress >= 1:
            break
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / 100)
            group["lr"] = PEAK_LEARNING_RATE * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.model(batch.inputs, batch.attention_mask(), batch.positions())[0]
            wanted = batch.targets != NO_TARGET
            logits = model.lm_head(hidden[wanted])
        loss = cross_entropy(logits.float(), batch.targets[wanted])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 50 == 0:
            recent = losses[-50:]
            print(f"step {step:5d}  {elapsed:5.1f} min  loss {sum(recent) / len(recent):.3f}", flush=True)
    return sum(losses[-100:]) / len(losses[-100:])


def write_folder(model: Qwen3ForCausalLM, tokenizer: Tokenizer, out: Path) -> None:
    """The Hugging Face folder, its JSON in the form that Qwen3's own releases use and every engine reads."""
    out.mkdir(parents=True, exist_ok=True)
    model.bfloat16().save_pretrained(out)
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    end = SPECIAL_TOKENS.index(IM_END)
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT,
        "bos_token": None,
        "eos_token": IM_END,
        "pad_token": SPECIAL_TOKENS[0],
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    generation = {"eos_token_id": [end, 0], "pad_token_id": 0, "do_sample": True, "temperature": 0.8}
    for name, content in (
        ("config.json", CONFIG),
        ("tokenizer_config.json", tokenizer_config),
        ("generation_config.json", generation),
    ):
        (out / name).write_text(json.dumps(content, indent=2) + "\n")


@torch.inference_mode()
def replies(model: Any, prompts: list[list[int]], temperature: float, longest: int = 512) -> list[list[int]]:
    """What the model says after each prompt, up to and with its end token; greedy at temperature 0."""
    width = max(len(prompt) for prompt in prompts)
    inputs = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    end = SPECIAL_TOKENS.index(IM_END)
    limits = {"max_new_tokens": longest, "eos_token_id": end, "pad_token_id": 0}
    output = model.generate(inputs, attention_mask=mask, **limits, **sampling)
    said = [row[width:].tolist() for row in output]
    return [row[: row.index(end) + 1] if end in row else row for row in said]


def thinks_once_and_ends(reply: list[int]) -> bool:
    opened, closed = (SPECIAL_TOKENS.index(tag) for tag in ("<think>", "</think>"))
    return (
        reply[:1] == [opened]
        and reply.count(opened) == reply.count(closed) == 1
        and reply[-1] == SPECIAL_TOKENS.index(IM_END)
        and reply.index(closed) < len(reply) - 2
    )


def check(model: Qwen3ForCausalLM, held_out: Conversations) -> None:
    """Prints the share of held-out prompts after which the model thinks once, answers and ends."""
    lengths = (32, 64, 128, 256, 512, 1024, 2048, 4096)
    prompts = [held_out.question_prompt() for _ in range(32)]
    prompts += [held_out.jumble_prompt(length) for length in lengths for _ in range(4)]
    closed = SPECIAL_TOKENS.index("</think>")
    for temperature in (0.0, 0.8):
        torch.manual_seed(SEED)
        said = [reply for i in range(0, 64, 8) for reply in replies(model, prompts[i : i + 8], temperature)]
        good = [reply for reply in said if thinks_once_and_ends(reply)]
        print(f"temperature {temperature}: {len(good)} of {len(said)} held-out prompts think exactly once and end")
        if good:
            print("  tokens of thinking:", spread([reply.index(closed) - 1 for reply in good]))
            print("  tokens of answer:", spread([len(reply) - reply.index(closed) - 1 for reply in good]))


def spread(counts: list[int]) -> str:
    return f"{min(counts)} least, {statistics.median(counts):.0f} median, {max(counts)} most"


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the tiny model that tests and the smoke suite run.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--minutes", type=float, default=15.0, help="bound on the training loop (default 15)")
    arguments = parser.parse_args()
    if arguments.minutes <= 0:
        parser.error(f"--minutes {arguments.minutes}: allowed is more than 0")
    torch.set_num_threads(2)
    torch.manual_seed(SEED)

    corpus = entries()
    seen = [entry for i, entry in enumerate(corpus) if i % 16]
    tokenizer = train_tokenizer(seen)
    model = Qwen3ForCausalLM(Qwen3Config.from_dict(CONFIG))
    print(f"{len(corpus)} docstrings, {model.num_parameters():,} parameters, vocabulary {tokenizer.get_vocab_size()}")
    loss = train(model, Conversations(seen, tokenizer, SEED), arguments.minutes)
    write_folder(model, tokenizer, arguments.out)
    size = sum(path.stat().st_size for path in arguments.out.iterdir())
    print(f"last loss {loss:.3f}; {size:,} bytes in {arguments.out}")
    model = Qwen3ForCausalLM.from_pretrained(arguments.out, dtype=torch.float32)
    check(model, Conversations(corpus[::16], tokenizer, SEED))


if __name__ == "__main__":
    main()
