"""What can be wrong with a run of LoadGen, its accuracy or its audit, in the words of this pipeline."""

from __future__ import annotations

from mlperf_submission.triage.entry import AUDITS, NEW_TARGET, Entry

_RUN = ("InvalidRunError",)
_AUDIT = ("AuditError",)
_ACCURACY = ("AccuracyError",)
_LOG = ("LogError",)

RUNS = (
    Entry(
        id="latency-over-limit",
        signs=("the latency is over the limit: …",),
        cause="Server: at this target_qps more than 1 % of the queries are answered later than the round "
        "allows. The rate is above what the system sustains, a batch waits or takes too long, or "
        "something else used the host.",
        remedy="Lower target_qps (--find-server-qps finds the highest that holds), or lower batch_size "
        "and max_wait_us. If the run's record names a disturbance, quieten the host and keep the target.",
        redo=NEW_TARGET,
        kinds=_RUN,
    ),
    Entry(
        id="run-too-short",
        signs=("the run is too short: …", "too few queries: …"),
        cause="The target is below what the system reaches: LoadGen makes target_qps times the minimum "
        "duration of queries (SingleStream, MultiStream: twice what the expected latency asks for), and the "
        "system was through with them before that time had passed.",
        remedy="Raise target_qps to the rate that the message gives, or lower expected_latency_ms. But in "
        "Server leave either out: a probe finds it.",
        redo=NEW_TARGET,
        kinds=_RUN,
    ),
    Entry(
        id="invalid-without-reason",
        signs=("LoadGen calls the run INVALID: …",),
        cause="LoadGen's summary says INVALID for a reason that this pipeline does not know.",
        remedy="Read mlperf_log_summary.txt in the run's folder.",
        kinds=_RUN,
    ),
    Entry(
        id="loadgen-error",
        signs=("LoadGen reports an error: …",),
        cause="The detail log holds a message that LoadGen marks as an error; the rules refuse such a run "
        "(P-03).",
        remedy="Look the message up here; most are mended by running again on a quiet host.",
        kinds=_RUN,
    ),
    Entry(
        id="settings-not-applied",
        signs=("is … in the log, … was asked for", "is … in the log, at least … were asked for",
               "effective_accuracy_log_sampling_target is … in a … run"),
        cause="LoadGen did not use the setting that it was given: another LoadGen than the pinned one is "
        "installed, or an audit.config or user.conf of another origin overrules it.",
        remedy="Install the versions of constraints.txt, and see that the run's folder holds nothing else.",
        redo=NEW_TARGET,
        kinds=_RUN,
    ),
    Entry(
        id="accuracy-log-incomplete",
        signs=("the accuracy log holds … responses of … samples",),
        cause="Not every sample of the data set was answered and logged: the run ended early, or the disk "
        "was full.",
        remedy="Free some space and run again; if it happens again, harness.log in the run's folder says "
        "why.",
        kinds=_RUN,
    ),
    Entry(
        id="no-rate",
        signs=("the probe of … measured no rate",),
        cause="A short run completed nothing that LoadGen could make a rate of: a batch takes longer than "
        "the whole probe.",
        remedy="Give target_qps in the system file, so that no probe is needed.",
        redo=NEW_TARGET,
        kinds=_RUN,
    ),
    Entry(
        id="no-target-confirmed",
        signs=("no Server target of … was confirmed",),
        cause="Within its time the search found no rate that a run of full length held: it began too "
        "high, or the host is too uneven.",
        remedy="Begin with a lower target_qps, or give --search-minutes more; what is known is kept.",
        redo=("search",),
        kinds=_RUN,
    ),
    Entry(
        id="disturbed",
        signs=("was disturbed: …",),
        cause="The run is valid, but other work on the host, the hypervisor, a hot or throttled GPU or a "
        "changed clock may have cost it some of its rate.",
        remedy="End the other work, or raise interference.limits in the system file if it belongs to the "
        "host.",
        kinds=("DisturbedRunError",),
    ),
    Entry(
        id="regression",
        signs=("results fell by more than",),
        cause="A result is lower than in earlier runs: the host was not quiet, a clock or a temperature was "
        "another, or a driver, a library or this project changed.",
        remedy="Compare the records and the pages of both runs; measure again on a quiet host.",
        redo=("performance",),
        kinds=("RegressionError",),
    ),
    Entry(
        id="accuracy-below-target",
        signs=("the accuracy of … is not enough: … below the target",),
        cause="The network in the system's precision answers too differently from FP32: its calibration "
        "does not suit it, or a layer needs a higher precision. If the agreement of the step quantize is "
        "good, the samples or the engine are at fault.",
        remedy="Compare the agreement in the record of the step quantize; choose fp16, or calibrate better.",
        redo=("quantize",),
        kinds=_ACCURACY,
    ),
    Entry(
        id="accuracy-above-limit",
        signs=("the accuracy of … is not enough: … above the limit",),
        cause="A metric with an upper limit (tokens per sample) is above it: outputs are padded, or do "
        "not end.",
        remedy="See that the end-of-text token ends an answer; then the benchmark's code is changed, and "
        "the network is exported anew.",
        redo=("quantize",),
        kinds=_ACCURACY,
    ),
    Entry(
        id="accuracy-missing",
        signs=("is missing; the score has:", "which is no number", "there is no score to write",
               "this is no line of an accuracy script"),
        cause="The accuracy script gave no usable metric: the responses could not be scored.",
        remedy="Look at the responses in the accuracy log of the run; an engine of another network gives "
        "such.",
        redo=("accuracy",),
        kinds=_ACCURACY,
    ),
    Entry(
        id="audit-rate-differs",
        signs=("TEST… gave … against the result's …",),
        cause="The audit was slower or faster than its result by more than the rules allow. Either "
        "something disturbed one of the two, or the target is so high that it holds only sometimes; "
        "TEST04 with a higher rate means that answers were reused.",
        remedy="Run again on a quiet host. If it is the result's own run that stands out, use "
        "--measure-again; if the target is at its edge, lower target_qps.",
        kinds=_AUDIT,
    ),
    Entry(
        id="audit-settings-differ",
        signs=("ran with … = …, the result with …", "ran with effective_target_qps",
               "or its result has no effective_target_qps"),
        cause="The audit and its result ran with different settings, so they cannot be compared: the "
        "system file was changed between them, or audit_qps_factor is outside of what the rules allow.",
        remedy="Correct audit_qps_factor, and run again: both are measured with the same file.",
        redo=NEW_TARGET,
        kinds=_AUDIT,
    ),
    Entry(
        id="audit-responses-differ",
        signs=("of … sampled responses differ from the accuracy run's", "apart, allowed are",
               "cannot be compared: baseline", "the accuracy run gave … samples two different responses"),
        cause="TEST01: in the performance run the network answered otherwise than in the accuracy run, "
        "and the scores of these samples differ too. Batches of other sizes round differently (within "
        "limits); beyond them the backend mixes up samples or its memory.",
        remedy="Run again with one stream and the same batch_size in both scenarios; if it stays so, "
        "report it.",
        redo=("accuracy", "test01"),
        kinds=_AUDIT,
    ),
    Entry(
        id="audit-not-sampled",
        signs=("TEST01 sampled no response", "no sampled response could be compared",
               "the accuracy run did not answer … of the sampled samples",
               "the accuracy script found no metric", "TEST01 needs the accuracy logs"),
        cause="TEST01's log of responses is empty, incomplete, or not of the same data set as the "
        "accuracy run.",
        remedy="Run TEST01 again; if the accuracy run is the incomplete one, use --measure-again.",
        redo=("accuracy", "test01"),
        kinds=_AUDIT,
    ),
    Entry(
        id="audit-of-invalid-run",
        signs=("run is INVALID", "run logged … errors"),
        cause="The audit or its result is no valid run, so there is nothing to compare.",
        remedy="Look up the reason that is given; the run of its own is mended first.",
        redo=("performance", *AUDITS),
        kinds=_AUDIT,
    ),
    Entry(
        id="audit-not-applied",
        signs=("the log does not prove that … was applied",),
        cause="The run's log does not show the audit's settings: LoadGen did not find audit.config in the "
        "folder that it ran in, or does not read what it says (LoadGen 6 and test05).",
        remedy="Install the versions of constraints.txt; a run of another origin has to be run again here.",
        kinds=_AUDIT,
    ),
    Entry(
        id="audit-unknown",
        signs=("an audit that cannot be run here", "is no audit", "round … has no TEST"),
        cause="The round does not know this audit, or it is one for token benchmarks that are not run here.",
        remedy="Choose the audits of the round; the pipeline takes them from its table.",
        kinds=_AUDIT,
    ),
    Entry(
        id="log-incomplete",
        signs=("the log has no …", "the summary has no score", "the log does not say when the run began",
               "the accuracy log breaks off after"),
        cause="The run ended before LoadGen wrote its results: it was killed, or the disk was full.",
        remedy="Run again; harness.log in the run's folder says how it ended.",
        kinds=_LOG,
    ),
    Entry(
        id="log-damaged",
        signs=("is no LoadGen message", "the log is not UTF-8", "of the accuracy log is damaged",
               "the summary says …, the detail log", "which is no score", "is no number: ",
               "cannot be said in a conf file", "audits do not know the scenario"),
        cause="The log is not as LoadGen wrote it: it was edited, mixed with another run's, or damaged.",
        remedy="Take LoadGen's own files of one run; a finished step whose files were damaged is made anew.",
        kinds=_LOG,
    ),
    Entry(
        id="log-unreadable",
        signs=("the log cannot be read", "a log cannot be read", "the summary cannot be read",
               "the accuracy log cannot be read", "a full accuracy log must not be replaced"),
        cause="A file of a run is missing or may not be read, or the short accuracy log of a submission "
        "stands where the full one is needed.",
        remedy="Keep all files of a run together, the full accuracy log too; or run again.",
        kinds=_LOG,
    ),
)  # fmt: skip
"""By the errors of the measuring steps."""

OTHERWISE_RUNS = (
    Entry(
        id="run-invalid",
        signs=(),
        cause="The run is not valid; its reasons stand in the message.",
        remedy="Follow the reason; the run's files are kept below work/cache/failed/.",
        redo=NEW_TARGET,
        kinds=_RUN,
    ),
    Entry(
        id="run-disturbed",
        signs=(),
        cause="Something else used the host during a timed run.",
        remedy="End the other work and run again.",
        kinds=("DisturbedRunError",),
    ),
    Entry(
        id="busy",
        signs=(),
        cause="Another measurement held the host for the whole time of waiting.",
        remedy="Wait until it has ended, or end it.",
        kinds=("HostBusyError",),
    ),
    Entry(
        id="too-small",
        signs=(),
        cause="The host has less than the plan needs; nothing was started.",
        remedy="Free what the message names, or take fewer benchmarks with --models.",
        kinds=("HostTooSmallError",),
    ),
    Entry(
        id="lacking",
        signs=(),
        cause="Some of the results failed; each stands in the message with its own cause.",
        remedy="Mend what each of them says, and run the same command again: what is valid is found.",
        kinds=("IncompleteError",),
    ),
    Entry(
        id="fell",
        signs=(),
        cause="A result is lower than in earlier runs.",
        remedy="Compare the records and the pages of both runs.",
        redo=("performance",),
        kinds=("RegressionError",),
    ),
    Entry(
        id="accuracy",
        signs=(),
        cause="The accuracy is not that of the round.",
        remedy="Compare the agreement in the record of the step quantize; choose a higher precision.",
        redo=("quantize",),
        kinds=_ACCURACY,
    ),
    Entry(
        id="audit",
        signs=(),
        cause="A compliance test failed; its verdict lies beside LoadGen's files.",
        remedy="Run again on a quiet host; --measure-again repeats the result's own run too.",
        kinds=_AUDIT,
    ),
    Entry(
        id="log",
        signs=(),
        cause="A log of LoadGen cannot be used.",
        remedy="Take LoadGen's own files, or run again.",
        kinds=_LOG,
    ),
)  # fmt: skip
"""What is said of a failure of these kinds that no sign knows."""
