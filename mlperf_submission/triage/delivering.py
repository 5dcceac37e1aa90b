"""What can go wrong around the work: settings, disk, host, tree, store and Prefect."""

from __future__ import annotations

from mlperf_submission.triage.entry import Entry

_STORE = ("StoreError",)
_TREE = ("TreeError",)

DELIVERING = (
    Entry(
        id="plan-does-not-fit",
        signs=("the plan does not fit this host",),
        cause="The expected files, or the samples of a run, need more than this host has free; or it "
        "has not the GPUs that the system file names.",
        remedy="Free or install what is missing, choose another folder with --work, or run all the same with "
        "--anyway: what can be done without is done, the rest fails.",
        kinds=("HostTooSmallError",),
    ),
    Entry(
        id="disk-full",
        signs=("the disk is full (", "the disk is too full:"),
        cause="A step ran out of space; what it had half done is removed, finished steps are kept.",
        remedy="Free some space and run the same command again; `plan` says how much is needed.",
        kinds=("DiskFullError",),
    ),
    Entry(
        id="file-refused",
        signs=("the operating system refuses a file or folder",),
        cause="The folder belongs to another user, is no folder, or lies on a disk that is read-only. What a "
        "container is given belongs to root, and a run as root leaves files that nobody else can change.",
        remedy="Give the folder to the user who runs this (`chown -R`), or name another one.",
        kinds=("SettingError",),
    ),
    Entry(
        id="host-busy",
        signs=("the host is still in use by",),
        cause="Another measurement, or preparation, held this host for longer than the flow may wait.",
        remedy="Let it end, and run the same command again; the message says who it is.",
        kinds=("HostBusyError",),
    ),
    Entry(
        id="archive-too-large",
        signs=("the archive unpacks to more than",),
        cause="An archive would fill the disk, or was made to do so.",
        remedy="Free some space; see that the archive is its owner's.",
        redo=("download",),
        kinds=("DiskFullError",),
    ),
    Entry(
        id="tree-not-written",
        signs=("reasons against this tree", "the tree of round … cannot be written",
               "the folder is not empty"),
        cause="The runs do not make a submission: one is missing, or two do not belong together.",
        remedy="Each reason is named; run what is missing.",
        redo=("package",),
        kinds=_TREE,
    ),
    Entry(
        id="random-weights",
        signs=("was made from random weights, which are never a result",),
        cause="An engine or network with random weights shows how fast the hardware is, and nothing else.",
        remedy="Run the system with the official weights.",
        redo=("download",),
        kinds=_TREE,
    ),
    Entry(
        id="incomplete",
        signs=("results are missing: …", "none of the results was measured: …"),
        cause="Results failed; each is named with its reason. What was measured of the others is kept, and "
        "stored as a candidate that lacks them.",
        remedy="Mend what each reason names and start the same command again: it measures what is missing. "
        "Or take the missing results out with --without.",
        kinds=("IncompleteError",),
    ),
    Entry(
        id="incomplete-published",
        signs=("lacks …, and an incomplete run is not published",),
        cause="The candidate lacks results that were asked for, or that the round asks for.",
        remedy="Measure what is missing, or make a complete run of the others with --without.",
        kinds=_STORE,
    ),
    Entry(
        id="ended-together",
        signs=("was ended: the work beside it was stopped or failed",),
        cause="The flow was stopped, or something of the host or the request failed that ends all of it.",
        remedy="Look at what failed first; the same command goes on from what is finished.",
        kinds=("StepFailedError",),
    ),
    Entry(
        id="left-out",
        signs=("there is no result … to leave out", "it cannot be handed in with …"),
        cause="--without names a result that the system file has not, or leaves a benchmark without a "
        "scenario that the round asks for.",
        remedy="Name results of the system file, and a whole benchmark where the round asks for each "
        "scenario.",
        kinds=("SettingError",),
    ),
    Entry(
        id="no-tree",
        signs=("there is no submission tree here", "there is no such folder", "the folder cannot be read"),
        cause="The path is not the root of a submission tree, or may not be read.",
        remedy="Give the folder that holds closed/ or open/.",
        kinds=_TREE,
    ),
    Entry(
        id="round-not-read",
        signs=("the logs are of several rounds", "the logs have the seeds and the LoadGen of no known round",
               "there is no performance log to read the round from"),
        cause="The round of a tree is read from the seeds and the LoadGen of its performance logs; these do "
        "not tell it.",
        remedy="Name the round with --round, or see that the path is the root of a tree with results.",
        kinds=_TREE,
    ),
    Entry(
        id="fleet-conflict",
        signs=("files differ between the trees", "a link or special file cannot be part of a tree"),
        cause="Two hosts ran different versions of the project, or the same result is in two trees.",
        remedy="Bring the hosts to one version and run the fleet again, or leave one of the trees out.",
        redo=("package",),
        kinds=_TREE,
    ),
    Entry(
        id="fleet-mixed",
        signs=("a submission has one submitter", "a submission is of one round",
               "rehearsals cannot stand beside results", "the systems are of"),
        cause="The systems do not belong into one submission: another submitter or round, or a rehearsal.",
        remedy="Correct the system files, or make a fleet of those that belong together; nothing is "
        "measured again.",
        redo=("package",),
        kinds=(*_TREE, "SettingError"),
    ),
    Entry(
        id="fleet-unknown",
        signs=("there is no deployment", "which the fleet has not", "no system is left of the fleet"),
        cause="The fleet names a system that has no deployment, or leaves one out that it has not.",
        remedy="Name it in prefect.yaml and run prefect deploy --all, or correct systems and skip.",
        kinds=("SettingError",),
    ),
    Entry(
        id="fleet-unfinished",
        signs=("systems have no finished submission", "left no record of a stored run"),
        cause="A system of the fleet failed, or its host's worker did not take its run in time.",
        remedy="Mend what its own flow run says and start the fleet again: what is finished is found.",
        kinds=("StepFailedError", *_STORE),
    ),
    Entry(
        id="store-key",
        signs=("refuses the access key", "no complete S3 access key was found", "refuses the request for"),
        cause="The S3 server does not know the key, or the key may not do this.",
        remedy="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or the profile) of a user who may read "
        "and write the bucket; check the clock.",
        redo=("upload",),
        kinds=_STORE,
    ),
    Entry(
        id="store-missing",
        signs=("there is no bucket", "there is no object", "there is no complete run",
               "several systems have a run"),
        cause="The bucket, object or run is not there, or its name is not unique.",
        remedy="Create the bucket, or name the run as the message lists it.",
        kinds=_STORE,
    ),
    Entry(
        id="store-clock",
        signs=("this machine's clock differs too much from the S3 server's",),
        cause="S3 signs each request with the time, and refuses one that is minutes off.",
        remedy="Set the clock of this host by its time service.",
        redo=("upload",),
        kinds=_STORE,
    ),
    Entry(
        id="store-encryption",
        signs=("the S3 server does not encrypt as it was asked to",
               "the S3 server encrypts with another key"),
        cause="The server does not know the encryption or the key that the system file asks for, and "
        "stores otherwise.",
        remedy="Correct the encryption and the key in store, or the bucket's own settings.",
        redo=("upload",),
        kinds=_STORE,
    ),
    Entry(
        id="store-published",
        signs=("is published, and published runs are never removed",),
        cause="A run that was published is a record, which no command removes.",
        remedy="Name a candidate or a rehearsal instead.",
        kinds=_STORE,
    ),
    Entry(
        id="store-damaged",
        signs=("the server stored something else than", "could not be restored whole",
               "objects of the run are not in the store", "the manifest is damaged",
               "the manifest is that of", "the manifest is gone", "the manifest is not the one that"),
        cause="What lies in the store is not what was put there: damaged, removed or tampered with.",
        remedy="Upload the run again from the host that made it; compare with the manifest.",
        redo=("upload",),
        kinds=_STORE,
    ),
    Entry(
        id="store-newer",
        signs=("the manifest is of version",),
        cause="A newer version of this project wrote the run.",
        remedy="Use that version or a newer one.",
        kinds=_STORE,
    ),
    Entry(
        id="store-not-whole",
        signs=("the run is no whole submission",),
        cause="The candidate lacks its tree, its page or its verdict, and cannot be handed in.",
        remedy="Publish a run that the flow made and uploaded whole.",
        kinds=_STORE,
    ),
    Entry(
        id="store-collected",
        signs=("the store is being collected",),
        cause="`store collect --delete` is at work, and an upload could lose what it counts on.",
        remedy="Run the same command again when it is finished: what was sent is not sent twice.",
        redo=("upload",),
        kinds=("UnreachableError",),
    ),
    Entry(
        id="store-unlimited",
        signs=("the S3 server lists more than", "no store wrote it there", "sends an answer of more than",
               "what was written is not there"),
        cause="The server does not behave as an S3 server does, or others use the same bucket and prefix.",
        remedy="Check the endpoint; give the store a bucket or a prefix of its own.",
        redo=("upload",),
        kinds=_STORE,
    ),
    Entry(
        id="store-run-exists",
        signs=("with another content is in the store already",),
        cause="A stored run is never changed, and one of this name with other content is there.",
        remedy="Change an input (or the code), which gives the run another name; or remove the stored one.",
        redo=("upload",),
        kinds=_STORE,
    ),
    Entry(
        id="rehearsal-published",
        signs=("is a rehearsal, which is never published",),
        cause="A rehearsal is never a result.",
        remedy="Run the system with edition: full.",
        kinds=_STORE,
    ),
    Entry(
        id="store-away",
        signs=("the S3 server answers", "the S3 server does not answer", "S3 failed:"),
        cause="The S3 server did not answer, or answered that it cannot serve now.",
        remedy="Run the same command again: what was sent is not sent twice.",
        redo=("upload",),
        kinds=("UnreachableError", *_STORE),
    ),
    Entry(
        id="store-files-gone",
        signs=("a file of the run is missing", "the run cannot be described",
               "the file changed while it was uploaded"),
        cause="A finished step lost or changed a file between its end and the upload.",
        remedy="Run the same command again: the step is found damaged and made anew.",
        kinds=("SourceError",),
    ),
    Entry(
        id="prefect-not-started",
        signs=("the command's own Prefect server …",),
        cause="The Prefect server of the command line ended before it answered, or did not answer in time; "
        "the message has what it said last.",
        remedy="Mend what it says (all of it: work/logs/prefect.log). work/prefect may be removed, it holds "
        "only history.",
        kinds=("UnreachableError",),
    ),
    Entry(
        id="prefect-away",
        signs=("the Prefect server does not answer, or broke off",),
        cause="The Prefect server that records the run did not answer, or closed the connection.",
        remedy="Start it again, and run the same command: finished steps are found.",
        kinds=("UnreachableError",),
    ),
    Entry(
        id="s3-not-started",
        signs=("the embedded S3 server did not start",),
        cause="rclone is missing, or its port or folder cannot be used.",
        remedy="Install rclone, or set store.endpoint_url; work/logs/s3.log says why.",
        kinds=("StepFailedError",),
    ),
)  # fmt: skip

OTHERWISE_DELIVERING = (
    Entry(
        id="setting",
        signs=(),
        cause="The system file, an option or a parameter holds something that cannot be.",
        remedy="Correct the setting that is named; docs/systems.md lists all of them.",
        kinds=("SettingError",),
    ),
    Entry(
        id="tree",
        signs=(),
        cause="The validation refuses the tree, or it cannot be read.",
        remedy="Follow each rule that is named; docs/rules.md has all of them.",
        redo=("package",),
        kinds=_TREE,
    ),
    Entry(
        id="store",
        signs=(),
        cause="The store refused a request for good.",
        remedy="Check bucket, key and prefix of the system file.",
        redo=("upload",),
        kinds=_STORE,
    ),
)  # fmt: skip
"""What is said of a failure of these kinds that no sign knows."""
