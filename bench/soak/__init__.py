"""One case for hours: `bench node soak`.

The engine is started once, and the case is run on it again and again. Each time is a segment: a result folder like any
other, which `bench verify` holds to its tables. An engine that fails is started again, after a wait that grows, until
it answers or has failed so often in a row that nobody would go on. Its outage lasts from when it was last heard to the
next first token; what this program takes to write records meanwhile is left out of it. An endpoint that refuses
for longer than a hiccup and answers again within a segment was away too. The first start is planned and no outage.

`soak.jsonl` is the soak's whole state: a line an event, on the disk before the next. A soak that was interrupted, or
whose program died, goes on from there; the time between is unobserved, neither up nor down. `soak.json`, the report,
follows from the log and the segments' records alone.
"""
