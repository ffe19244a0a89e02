"""Of the log of a server that failed, the line that says why."""

from __future__ import annotations

import pytest

from bench.engine.log_tail import last_words, told_cause

ROOT_CAUSE_ABOVE = """
(EngineCore pid=12) INFO 11-23 06:00:00 [core.py:131] Initializing a V1 LLM engine
(EngineCore pid=12) ERROR 11-23 06:00:07 [core.py:1100] EngineCore failed to start.
(EngineCore pid=12) ERROR 11-23 06:00:07 [core.py:1100] Traceback (most recent call last):
(EngineCore pid=12) ERROR 11-23 06:00:07 [core.py:1100]   File "core.py", line 3, in start
(EngineCore pid=12) ERROR 11-23 06:00:07 [core.py:1100] ValueError: No available memory for the cache blocks.
(APIServer pid=1) Traceback (most recent call last):
(APIServer pid=1)   File "serve.py", line 3, in run
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""


def test_the_root_cause_is_told_and_not_what_points_to_it() -> None:
    assert last_words(ROOT_CAUSE_ABOVE) == "ValueError: No available memory for the cache blocks."


WORKER_DIED = """
(Worker pid=13) INFO 11-23 06:00:01 [cpu_worker.py:260] Warming up done.
terminate called after throwing an instance of 'std::runtime_error'
  what():  index out of bounds
(EngineCore pid=12) ERROR 11-23 06:00:07 [multiproc_executor.py:315] Worker proc VllmWorker-0 died unexpectedly (-6)
(EngineCore pid=12) ERROR 11-23 06:00:07 [core.py:1512] RuntimeError: cancelled
(MainProcess pid=1) ERROR 11-23 06:00:07 [async_llm.py:906] vllm.EngineDeadError: See stack trace (above) for the cause.
"""


def test_of_a_process_that_died_its_own_last_words_go_before_what_others_saw() -> None:
    assert last_words(WORKER_DIED) == "what():  index out of bounds"
    without = "\n".join(line for line in WORKER_DIED.splitlines() if "what" not in line)
    assert last_words(without) == "Worker proc VllmWorker-0 died unexpectedly (-6)"


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", ""),
        ("\n  \n", ""),
        ("Killed\n", "Killed"),
        ("INFO 11-23 06:00:00 [x.py:1] first\nINFO 11-23 06:00:01 [v1/x.py:2] second\n", "second"),
        ("ERROR 11-23 06:00:00 [x.py:1] it broke\nINFO 11-23 06:00:01 [x.py:2] going\n", "it broke"),
        ("usage: vllm serve\nvllm serve: error: unrecognized arguments: --no\n", None),
        ("OSError: [Errno 98] Address already in use\n", "OSError: [Errno 98] Address already in use"),
        ("torch.OutOfMemoryError: CUDA out of memory.\nbye\n", "torch.OutOfMemoryError: CUDA out of memory."),
    ],
)
def test_one_line_is_told_without_what_stands_before_it(log: str, words: str | None) -> None:
    assert last_words(log) == (log.splitlines()[-1] if words is None else words)


def test_a_long_line_is_cut() -> None:
    assert len(last_words("x" * 10_000)) == 300


@pytest.mark.parametrize(
    "words", ["torch.OutOfMemoryError: CUDA out of memory.", "ValueError: No available memory for the cache blocks."]
)
def test_a_lack_of_memory_is_told_as_that(words: str) -> None:
    assert told_cause(words) == f"out of memory: {words}"
    assert told_cause("ValueError: too long") == "ValueError: too long"
