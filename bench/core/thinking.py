"""How models mark their thinking: a pair of tags around it, or harmony's channels."""

from __future__ import annotations

TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
)
"""What opens thinking, and what closes it."""

HARMONY_START, HARMONY_CHANNEL, HARMONY_MESSAGE, HARMONY_END = "<|start|>", "<|channel|>", "<|message|>", "<|end|>"
"""A message of harmony is `<|start|>assistant<|channel|>NAME …<|message|>` and then its text up to `<|end|>`; the first
of an answer usually begins at its channel. Servers that leave special tokens out of an answer's text leave these out
too, unless they are asked not to: vLLM by `skip_special_tokens: false`."""
THINKING_CHANNEL = "analysis"
ANSWER_CHANNEL = "final"
"""Whatever is on another channel than `analysis` is answer: commentary and calls of tools too."""
