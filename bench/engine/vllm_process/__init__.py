"""The process vLLM runs in.

Its interpreter may have nothing of ours installed, and must not find what we have: another torch or numpy than vLLM's
would break it. So these files need only the standard library and vllm, and of `bench` what is as plain: the records and
messages that both processes know. `run.py` makes that much of it importable.
"""
