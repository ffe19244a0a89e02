"""How long the parts of a start took, and what it resolved, by vLLM's log."""

from __future__ import annotations

from bench.engine.vllm_server.description import described_settings
from bench.engine.vllm_start_log import StartPhases, resolved_settings, start_phases

CONFIG = (
    "Initializing a V1 LLM engine (v0.32.0) with config: model='m', dtype=torch.float16, max_seq_len=2048, "
    "tensor_parallel_size=2, pipeline_parallel_size=1, data_parallel_size=2, quantization=fp8, enforce_eager=False, "
    "kv_cache_dtype=fp8, device_config=cuda, observability_config=Observability(kv_cache_metrics=False), "
    "compilation_config={'mode': <CompilationMode.VLLM_COMPILE: 3>, 'cudagraph_mode': <CUDAGraphMode.FULL: 2>}"
)


def line(text: str, process: str = "Worker_TP0 pid=21", time: str = "06:48:37") -> str:
    return f"({process}) INFO 11-23 {time} [x_runner.py:87] {text}\n"


def test_each_part_is_that_of_the_slowest_process() -> None:
    log = (
        line("Model loading took 12.5 GiB memory and 4.250000 seconds")
        + line("Model loading took 12.5 GiB memory and 5.500000 seconds", "Worker_TP1 pid=22")
        + line("[backbone] torch.compile took 20.00 s in total")
        + line("[draft] torch.compile took 2.50 s in total")
        + line("[backbone] torch.compile took 21.00 s in total", "Worker_TP1 pid=22")
        + line("Graph capturing finished in 9 secs, took 0.61 GiB")
        + line("init engine (profile, create kv cache, warmup model) took 40.00 s (compilation: 22.50 s)")
    )
    assert start_phases(log) == StartPhases(load_s=5.5, compile_s=22.5, capture_s=9.0, initialise_s=40.0)


def test_where_no_line_tells_a_part_others_stand_in() -> None:
    log = line("Initializing model took 0.25 seconds") + line("Loading weights took 0.50 seconds")
    assert start_phases(log).load_s == 0.75
    log = line("init engine (profile, create kv cache, warmup model) took 9.00 s (compilation: 3.50 s)")
    assert start_phases(log) == StartPhases(compile_s=3.5, initialise_s=9.0)
    log = line("Warming up model for the compilation...", time="23:59:50") + line("Warming up done.", time="00:00:12")
    assert start_phases(log).compile_s == 22.0


def test_a_log_of_another_form_tells_nothing() -> None:
    for log in ("", "Model loading took 1 GiB memory and 4.25 seconds\n", line("took a while")):
        assert start_phases(log) == StartPhases()
        assert resolved_settings(log) == {}


def test_what_was_resolved_is_told_in_the_words_of_our_own_engine_and_in_vllms() -> None:
    described = described_settings(line(CONFIG), {"block_size": 16})
    assert (described["dtype"], described["weight_format"], described["kv_dtype"]) == (
        "float16",
        "fp8",
        "float8_e4m3fn",
    )
    assert (described["device"], described["accelerators"]) == ("cuda", 4)
    assert described["settings"]["compilation_mode"] == "vllm_compile"
    assert described["settings"]["cudagraph_mode"] == "full"
    assert described["settings"]["enforce_eager"] is False
    assert described["cache"] == {"block_size": 16}


def test_a_cpu_is_no_accelerator() -> None:
    log = line(CONFIG.replace("=cuda", "=cpu").replace("quantization=fp8", "quantization=None"))
    described = described_settings(log, {})
    assert (described["weight_format"], described["accelerators"]) == ("dense", 0)


def test_without_a_line_nothing_is_made_up() -> None:
    assert described_settings("", {}) == {"settings": {}, "cache": {}}
