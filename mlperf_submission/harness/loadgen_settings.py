"""Turns our settings of a run into LoadGen's own objects. Only the child imports this."""

from __future__ import annotations

from pathlib import Path

import mlperf_loadgen as loadgen

from mlperf_submission.harness.settings import RunSettings

_MASK = (1 << 64) - 1


def test_settings(settings: RunSettings) -> loadgen.TestSettings:
    """Return LoadGen's settings, all by attribute: no configuration file is read, so nothing else applies."""
    made = loadgen.TestSettings()
    made.scenario = getattr(loadgen.TestScenario, settings.scenario.value)
    mode = "AccuracyOnly" if settings.is_accuracy else "PerformanceOnly"
    made.mode = getattr(loadgen.TestMode, mode)
    made.single_stream_expected_latency_ns = settings.expected_latency_ns
    made.single_stream_target_latency_percentile = settings.target_latency_percentile
    made.multi_stream_expected_latency_ns = settings.expected_latency_ns
    made.multi_stream_target_latency_percentile = settings.target_latency_percentile
    made.multi_stream_samples_per_query = settings.samples_per_query
    made.offline_expected_qps = settings.target_qps
    made.server_target_qps = settings.target_qps
    made.server_target_latency_ns = settings.target_latency_ns
    made.server_target_latency_percentile = settings.target_latency_percentile
    made.min_duration_ms = settings.min_duration_ms
    made.max_duration_ms = 0
    made.min_query_count = settings.min_query_count
    made.max_query_count = 0
    made.performance_sample_count_override = settings.performance_sample_count
    made.sample_concatenate_permutation = settings.sample_concatenate_permutation
    made.qsl_rng_seed = settings.qsl_rng_seed & _MASK
    made.sample_index_rng_seed = settings.sample_index_rng_seed & _MASK
    made.schedule_rng_seed = settings.schedule_rng_seed & _MASK
    # LoadGen 6.0.17 ignores `test05 = 1` in audit.config; the attributes work in every version.
    made.test05 = settings.test05
    made.test05_qsl_rng_seed = settings.test05_qsl_rng_seed & _MASK
    made.test05_sample_index_rng_seed = settings.test05_sample_index_rng_seed & _MASK
    made.test05_schedule_rng_seed = settings.test05_schedule_rng_seed & _MASK
    made.infer_token_latencies = settings.token_latency_scaling_factor > 0
    made.token_latency_scaling_factor = settings.token_latency_scaling_factor
    made.use_token_latencies = settings.use_token_latencies
    made.ttft_latency = settings.first_token_latency_ns
    made.tpot_latency = settings.per_token_latency_ns
    return made


def log_settings(folder: Path) -> loadgen.LogSettings:
    """Return settings that write the official files into a folder, without a trace."""
    output = loadgen.LogOutputSettings()
    output.outdir = str(folder)
    output.copy_summary_to_stdout = False
    made = loadgen.LogSettings()
    made.log_output = output
    made.enable_trace = False
    return made
