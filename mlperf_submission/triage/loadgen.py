"""What LoadGen 6.0.17 can say against a run, in its detail log, its summary or on its way out."""

from __future__ import annotations

from mlperf_submission.triage.entry import NEW_TARGET, Entry

LOADGEN = (
    Entry(
        id="queries-used-up",
        signs=("Ran out of generated queries to issue before the minimum query count and test duration",
               "The test exited early, before enough queries were issued",
               "test exited early, before enough queries were issued",
               "Increase the target QPS so the loadgen pre-generates more queries",
               "Decrease the expected latency so the loadgen pre-generates more queries",
               "Increase expected QPS so the loadgen pre-generates a larger (coalesced) query"),
        cause="The system answers faster than its target says: LoadGen makes its queries beforehand, for "
        "target_qps times the minimum duration (SingleStream, MultiStream: for twice that duration at the "
        "expected latency), and they were used up before that time had passed.",
        remedy="Raise target_qps above the rate that the run reached, or lower expected_latency_ms. But in "
        "Server leave either out: a probe finds it.",
        redo=NEW_TARGET,
    ),
    Entry(
        id="too-many-outstanding",
        signs=("Ending early: Too many outstanding queries",),
        cause="In Server more queries were waiting than LoadGen allows: they arrive faster than the "
        "system answers them.",
        remedy="Lower target_qps, or let --find-server-qps find it.",
        redo=NEW_TARGET,
    ),
    Entry(
        id="loadgen-limit",
        signs=("Ending early: Max test duration reached", "Ending early: Max query count reached"),
        cause="LoadGen had an upper limit of duration or queries. This harness sets none, so an "
        "audit.config or a configuration of another origin set it.",
        remedy="Remove what set it; the run's folder holds only what this pipeline wrote.",
    ),
    Entry(
        id="min-duration",
        signs=("Min duration satisfied : NO", "Min queries satisfied : NO"),
        cause="The run ended before the round's minimum duration or count: target_qps is below what the "
        "system reaches, so too few queries were made.",
        remedy="Raise target_qps to the rate that the run reached.",
        redo=NEW_TARGET,
    ),
    Entry(
        id="early-stopping",
        signs=("Early stopping satisfied: NO", "early stopping is not satisfied", "Run unsuccessful.",
               "Would need to run at least", "Not enough queries processed for",
               "early stopping estimate (would need to process at least", "Need to process at least",
               "Only processed"),
        cause="So many queries were over the latency limit, or so few were processed, that the percentile "
        "is not proven with 99 % confidence (early stopping).",
        remedy="If the latency is over its limit, lower target_qps. If it is not, the run needs more "
        "queries: a longer run, or a higher target_qps.",
        redo=NEW_TARGET,
    ),
    Entry(
        id="performance-constraints",
        signs=("Performance constraints satisfied : NO", "performance constraints, msg:",
               "FindPeakPerformance: Initial lower bound does not satisfy"),
        cause="The latency at the round's percentile is over its limit.",
        remedy="Lower target_qps; if a batch alone takes more than half of the limit, lower batch_size.",
        redo=NEW_TARGET,
    ),
    Entry(
        id="token-latency",
        signs=("TTFT constrain not met", "TPOT constrain not met"),
        cause="The time to the first token, or per further token, is over the round's limit.",
        remedy="Lower target_qps, or the number of requests that are worked on at once (batch_size).",
        redo=NEW_TARGET,
    ),
    Entry(
        id="result-invalid",
        signs=("Result is : INVALID",),
        cause="One of LoadGen's conditions is not met; the lines below it in the summary say which.",
        remedy="Follow the condition that says NO.",
        redo=NEW_TARGET,
    ),
    Entry(
        id="clock-drift",
        signs=("PerfClock and system_clock differ by more than",),
        cause="The host's clock was set during the run (a time service that steps instead of slewing), or "
        "its processor's counter is unstable: above 0.1 % LoadGen warns, above 1 % it is an error.",
        remedy="Let the time service finish its first synchronisation and forbid steps (chrony: no "
        "makestep), use the clock source tsc, and run again.",
    ),
    Entry(
        id="log-files",
        signs=("LoadGen: Failed to open summary file", "LoadGen: Failed to open detailed log file",
               "LoadGen: Failed to open accuracy log file", "LoadGen: Failed to open trace file"),
        cause="LoadGen could not write into the run's folder.",
        remedy="See that the disk has space and that the work folder may be written to, and run again.",
    ),
    Entry(
        id="logging-congested",
        signs=("More TLS loggers registerd than can be active simultaneously",
               "StopLogging() not supported from IO thread", "Logging allocation detected:", "CAS failed."),
        cause="LoadGen's logging did not keep up with the threads that answer, so times in the log may be "
        "late.",
        remedy="Run again; if it stays so, use fewer streams, which means fewer threads that answer.",
    ),
    Entry(
        id="answered-wrongly",
        signs=("Received SequenceId that was too large", "Received completion for an old sample",
               "Attempted to complete a sample twice",
               "Encountered incomplete samples at the end of a series of queries"),
        cause="A sample was answered twice, never, or under an id that LoadGen had not given: a fault of "
        "the harness or its backend, not of a setting.",
        remedy="Report it with the run's folder; a run with another batch_size or one stream may avoid it.",
    ),
    Entry(
        id="tokens-reported-wrongly",
        signs=("Attempted to record token latency after sample was completed",
               "Attempted to record a sample latency before it's first token latency",
               "n_tokens argument missing or attempted to record 0 as number of tokens",
               "Attempted to record a negative number of tokens",
               "Number of tokens need to be greater than 1"),
        cause="The token benchmark reported its first token, or its number of tokens, out of order or not "
        "at all: a fault of the benchmark's answers.",
        remedy="Report it with the run's folder; look at the accuracy run for empty responses.",
    ),
    Entry(
        id="issue-threads",
        signs=("Mismatch between settings and number of registered IssueQueryThreads",
               "settings.server_num_issue_query_threads ="),
        cause="LoadGen was asked for several threads that issue queries; this harness uses one.",
        remedy="Remove server_num_issue_query_threads from the configuration that set it, and run again.",
    ),
    Entry(
        id="audit-config-found",
        signs=("Found Audit Config file (audit.config). Overriding TestSettings from audit.config file",
               "Test05 flag detected Overriding random seeds"),
        cause="LoadGen took an audit's settings. In an audit that is as it must be; in a plain run an "
        "audit.config of another origin lay in the run's folder.",
        remedy="In a plain run, remove the file that lay there and run again.",
    ),
    Entry(
        id="loadgen-settings",
        signs=("Performance_issue_unique and performance_issue_same, both cannot be true at the same time",
               "Invalid value passed to Mode key in config",
               "Multiple conf files are used. This is not valid for official submission",
               "value needs to be integer or double, line=", "expected 'key=value', line=",
               "can't open file", "Invalid value for server_target_qps requested",
               "Invalid value for offline_expected_qps requested",
               "Sample Idx to be repeated in performance_issue_same mode cannot be greater than loaded"),
        cause="LoadGen refuses a setting or a line of a configuration file. This harness sets everything "
        "by attributes, so what it refuses comes from audit.config or from a target_qps that is no rate.",
        remedy="Correct target_qps in the system file; if that is sound, report it with the run's folder.",
        redo=NEW_TARGET,
    ),
    Entry(
        id="find-peak-performance",
        signs=("Finding peak performance is only supported in Server scenarios",
               "FindPeakPerformance: Check validity of the base settings field"),
        cause="LoadGen's own search for the highest rate was asked for; this harness never does.",
        remedy="Use --find-server-qps instead.",
    ),
    Entry(
        id="loadgen-modified",
        signs=("error_uncommitted_loadgen_changes", "Loadgen built with uncommitted changes"),
        cause="This LoadGen was built from sources with local changes, which a submission may not use.",
        remedy="Install the official package, and measure again.",
        redo=("probe", *NEW_TARGET),
    ),
    Entry(
        id="equal-issue-note",
        signs=("sample_concatenate_permutation was set to true",),
        cause="No failure: equal issue rounds a query up to whole passes over the data set, so the run is "
        "a little longer than asked for.",
        remedy="Nothing.",
    ),
    Entry(
        id="loadgen-messages",
        signs=("warnings encountered. See detailed log", "ERRORS encountered. See detailed log",
               "1 warning encountered. See detailed log", "1 ERROR encountered. See detailed log"),
        cause="The detail log holds messages that are marked as errors or warnings; with an error the run "
        "does not count.",
        remedy="Look for is_error in mlperf_log_detail.txt, and look that message up here.",
    ),
)  # fmt: skip
