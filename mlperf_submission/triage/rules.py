"""The rules of the validation by the reason for which a tree breaks them; each rule has its own remedy."""

from __future__ import annotations

from mlperf_submission.triage.entry import NEW_TARGET, RuleGroup
from mlperf_submission.triage.steps import AUDITS

RULE_GROUPS = (
    RuleGroup(
        title="What lies where",
        rules=("S-03", "S-04", "S-05", "S-06", "S-07", "S-08", "S-09", "S-10", "S-11", "D-07",
               "+nothing-to-check", "+another-round", "+unknown-root-folder", "+no-results-folder",
               "+unreadable-folder", "+unused-system", "V-18", "+calibration"),
        cause="Something was put into the tree, renamed or removed after the pipeline had written it.",
        redo=("package",),
    ),
    RuleGroup(
        title="The description of the system",
        rules=("Y-01", "Y-02", "Y-03", "Y-04", "Y-05", "Y-06", "Y-08", "Y-09", "N-01", "N-03", "G-07", "V-11",
               "+csv", "+not-a-number", "+unknown-field"),
        cause="A field of `description` in the system file is missing, empty or misspelt; "
        "systems/<system>.json is written from it.",
        redo=("package",),
    ),
    RuleGroup(
        title="Names of models and scenarios",
        rules=("M-02", "M-08", "M-04", "D-04", "+guessed-model"),
        cause="A folder has a name that the round does not know for this type of system.",
        redo=("package",),
    ),
    RuleGroup(
        title="Scenarios that were not run",
        rules=("M-05", "V-32"),
        cause="The system file, --models or --scenarios left out a scenario that the round asks for.",
        redo=NEW_TARGET,
    ),
    RuleGroup(
        title="Measurements and code",
        rules=("E-01", "E-02", "E-03", "E-05", "E-06", "E-07", "E-08", "C-01", "C-02", "+several-json",
               "+retraining", "+user-conf"),
        cause="A file beside the results is missing, empty, or was not written from the run that it "
        "stands beside.",
        redo=("package",),
    ),
    RuleGroup(
        title="Equal issue mode",
        rules=("E-10", "E-12", "+equal-issue"),
        cause="The run, or the conf files that are written from its log, lack "
        "sample_concatenate_permutation.",
        redo=NEW_TARGET,
    ),
    RuleGroup(
        title="Files of a run",
        rules=("P-01", "V-01", "A-05", "A-06", "A-07", "A-08", "A-11", "T-05", "T-10", "+other-runs", "+hash",
               "+open-accuracy"),
        cause="A run's folder holds a file too many or too few, or an accuracy log that was not truncated.",
        redo=("package",),
    ),
    RuleGroup(
        title="Runs that are not valid",
        rules=("P-02", "P-03", "P-16", "L-02", "+token-run-invalid", "+early-stopping", "+measured-latency"),
        cause="LoadGen calls the run INVALID, logged an error, or its latency is over the limit: "
        "target_qps does not suit the system, or something disturbed the run.",
        redo=NEW_TARGET,
    ),
    RuleGroup(
        title="Runs with other settings than the round's",
        rules=("P-04", "P-05", "P-06", "P-07", "P-08", "P-10", "P-17", "L-01", "N-04", "+target-percentile",
               "+samples-per-query", "+short-run"),
        cause="The run was not made with the settings of the round: it is a rehearsal, or of another "
        "origin or round.",
        redo=NEW_TARGET,
    ),
    RuleGroup(
        title="Logs that cannot be read",
        rules=("P-13", "P-15", "V-13", "A-10", "+later-validity", "+summary", "+audit-unreadable"),
        cause="A log was edited, cut off, or mixed with that of another run.",
        redo=("package",),
    ),
    RuleGroup(
        title="Logs in the place of others",
        rules=("+test-mode", "+accuracy-mode", "+scenario-differs", "+inferred-datacenter", "+same-log",
               "+audit-copy"),
        cause="The log that lies here is of another run, scenario or system than its folder says.",
        redo=("package",),
    ),
    RuleGroup(
        title="LoadGen with local changes",
        rules=("+loadgen-modified",),
        cause="The installed LoadGen was built from changed sources.",
        redo=("probe",),
    ),
    RuleGroup(
        title="Accuracy below target, or above its limit",
        rules=("A-01", "A-03"),
        cause="The network in this precision does not reach the reference's accuracy, or its answers are "
        "too long.",
        redo=("quantize",),
    ),
    RuleGroup(
        title="Accuracy that was not measured properly",
        rules=("A-02", "A-04", "A-09", "+totals", "+unread-accuracy", "+impossible-accuracy",
               "+accuracy-samples"),
        cause="The accuracy run did not cover the data set, logged an error, or accuracy.txt is not the "
        "script's.",
        redo=("accuracy",),
    ),
    RuleGroup(
        title="Compliance tests",
        rules=("T-02", "T-03", "T-04", "T-09", "T-11", "T-12", "V-43", "+audit-not-applied", "+audit-errors",
               "+first-token-skipped", "+audit-target", "+audit-system"),
        cause="A compliance test is missing, failed, or does not belong to its result.",
        redo=AUDITS,
    ),
    RuleGroup(
        title="Power",
        rules=("E-09", "W-02", "W-03", "W-04", "W-05", "W-06", "W-07", "W-08", "W-09", "W-10", "W-11", "W-12",
               "W-13", "+short-testing"),
        cause="The power measurement is incomplete, or not of one session with the run. This pipeline "
        "measures no power; a tree with power comes from elsewhere.",
        redo=("performance",),
    ),
    RuleGroup(
        title="Runs at the same time",
        rules=("+overlap",),
        cause="Two runs of one system were measured at the same time, or on several machines.",
        redo=NEW_TARGET,
    ),
)  # fmt: skip
"""A rule stands in one group at most; of one in none, its own remedy is all that is said."""
