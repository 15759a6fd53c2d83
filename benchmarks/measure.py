"""Time and memory of calls, made comparable: interleaved runs, and what torch itself allocates."""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

Call = Callable[[], Any]


def seconds_of(ways: Mapping[str, Call], runs: int) -> dict[str, float]:
    """Median seconds of each way, run in turn, so that a drifting machine slows all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(runs + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if run:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def peak_bytes(way: Call) -> int:
    """The most memory that torch holds during a call, beyond what it held before."""
    with torch.profiler.profile(profile_memory=True) as profiler:
        result = way()
    del result
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    memory = sorted((e["ts"], e["args"]) for e in events if e.get("name") == "[memory]")
    held = peak = 0
    for _, change in memory:
        held += change["Bytes"]
        peak = max(peak, held)
    return peak
