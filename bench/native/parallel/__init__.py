"""One model cut over several processes, each with a part of every layer (tensor parallelism).

Rank 0 is the engine: it schedules, samples and books. The others follow: they compute each of its steps on their part.
"""
