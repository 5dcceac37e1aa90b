"""One short real LoadGen run in its own process, with a trivial system that answers at a fixed rate.

Run as a script in the run's folder: `loadgen_run.py SCENARIO KIND RATE SECONDS ROUND`. The response to sample
i is the int32 i % 1000.
"""

from __future__ import annotations

import sys
import time

import mlperf_loadgen as lg
import numpy as np

from mlperf_submission.rounds import get_round

SAMPLES = 2000
LOADED = 1024
CHUNK = 50


def main(scenario: str, kind: str, rate: float, seconds: float, round_name: str) -> None:
    seeds = get_round(round_name).seeds
    labels = np.arange(SAMPLES, dtype=np.int32) % 1000
    address = labels.ctypes.data

    def issue(queries: list[lg.QuerySample]) -> None:
        begin = time.perf_counter()
        for start in range(0, len(queries), CHUNK):
            chunk = queries[start : start + CHUNK]
            if kind != "accuracy" and scenario == "Offline":
                time.sleep(max(0.0, begin + (start + len(chunk)) / rate - time.perf_counter()))
            lg.QuerySamplesComplete([lg.QuerySampleResponse(q.id, address + 4 * q.index, 4) for q in chunk])

    settings = lg.TestSettings()
    settings.scenario = getattr(lg.TestScenario, scenario)
    settings.mode = lg.TestMode.AccuracyOnly if kind == "accuracy" else lg.TestMode.PerformanceOnly
    settings.offline_expected_qps = settings.server_target_qps = rate
    settings.server_target_latency_ns = 200_000_000
    settings.min_duration_ms = int(seconds * 1000)
    settings.min_query_count = {"Offline": 1024, "MultiStream": 662}.get(scenario, 100)
    settings.single_stream_expected_latency_ns = settings.multi_stream_expected_latency_ns = 2000
    settings.multi_stream_samples_per_query = 8
    settings.performance_sample_count_override = LOADED
    settings.qsl_rng_seed = seeds.qsl
    settings.sample_index_rng_seed = seeds.sample_index
    settings.schedule_rng_seed = seeds.schedule
    if kind == "TEST05":
        settings.test05 = True
        settings.test05_qsl_rng_seed = 16799458546791641818
        settings.test05_sample_index_rng_seed = 5453809927556429288
        settings.test05_schedule_rng_seed = 5435552105434836064
    log = lg.LogSettings()
    log.enable_trace = False
    sut = lg.ConstructSUT(issue, lambda: None)
    library = lg.ConstructQSL(SAMPLES, LOADED, lambda _: None, lambda _: None)
    lg.StartTestWithLogSettings(sut, library, settings, log)
    lg.DestroyQSL(library)
    lg.DestroySUT(sut)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]), sys.argv[5])
