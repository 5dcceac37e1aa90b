"""What can go wrong from the sources to the engine, and with the hardware under it."""

from __future__ import annotations

from mlperf_submission.triage.entry import Entry

_SOURCE = ("SourceError",)
_NETWORK = ("NetworkFileError",)
_STEP = ("StepFailedError",)
_UNREACHABLE = ("UnreachableError",)

PREPARING = (
    Entry(
        id="source-silent",
        signs=("the server sent nothing for", "the connection failed or broke off",
               "the server sent only … of", "of … bytes arrived", "try again after", "the server answers 5",
               "the server answers 429", "does not come to the end of its headers",
               "the server sends less than"),
        cause="A server of the sources did not answer, broke off, or asked to come back later.",
        remedy="Check the network and proxy, and run the same command again: what has arrived is kept.",
        redo=("download",),
        kinds=_UNREACHABLE,
    ),
    Entry(
        id="source-refused",
        signs=("the server answers 4", "the server leads nowhere", "is no scheme that a source can have",
               "a file on another machine", "this is no usable URL", "the file cannot be read ("),
        cause="The address of a source is wrong, has moved, or needs a login.",
        remedy="Open the address in a browser; fetch the file by hand, or give another mirror.",
        redo=("download",),
        kinds=_SOURCE,
    ),
    Entry(
        id="source-certificate",
        signs=("server's certificate is not accepted",),
        cause="The host's clock or its certificate authorities are wrong, or a proxy stands in between.",
        remedy="Set the clock, and name the authorities in SSL_CERT_FILE.",
        kinds=(*_SOURCE, "StoreError"),
    ),
    Entry(
        id="source-changed",
        signs=("has another digest: expected", "bytes, but … are published", "sends more than the … bytes",
               "another range than the whole file", "the bucket states another checksum"),
        cause="The file at the address is not the one whose hash was published: it was changed, damaged, "
        "or replaced. It would be so again.",
        remedy="Take another mirror, or fetch the file by hand and compare its hash.",
        redo=("download",),
        kinds=(*_SOURCE, *_UNREACHABLE),
    ),
    Entry(
        id="source-page",
        signs=("the server sent a web page instead of",),
        cause="The address leads to a page that asks for a login or a licence, or says that the file moved.",
        remedy="Open the address in a browser, agree to the licence, and bring the file.",
        redo=("download",),
        kinds=_SOURCE,
    ),
    Entry(
        id="archive-refused",
        signs=("the archive is refused", "would leave its folder", "would leave the folder through a link",
               "there is already something where"),
        cause="An archive or manifest holds names that lead out of its folder, or something else lies "
        "there.",
        remedy="Fetch it anew from its owner, and remove what lies in its place.",
        redo=("download",),
        kinds=_SOURCE,
    ),
    Entry(
        id="licensed-data",
        signs=("is behind a licence and has to be brought", "there is no folder"),
        cause="Data behind a licence cannot be downloaded for you.",
        remedy="Fetch it under its licence, and write its folder into licensed_data of the system file.",
        redo=("verify_data",),
        kinds=("SettingError",),
    ),
    Entry(
        id="data-incomplete",
        signs=("images … are not right", "the list has … lines", "the list cannot be read",
               "the annotations", "annotation … is of", "there are … annotation files",
               "an image is listed twice", "there is no such folder of images", "these are not the",
               "cases cannot be used", "the image …", "this is too large for an image",
               "there are … articles, not", "the articles cannot be read", "the instruction of item",
               "the questions", "question …", "two questions have the id", "the file holds no question",
               "the NIfTI file cannot be read", "the segmentation", "the voxels are", "a volume of … voxels",
               "the file holds … values, not a volume", "the file is missing"),
        cause="The data set is not the official one: files are missing, damaged or misnamed.",
        remedy="Complete or fetch anew the files that are named.",
        redo=("verify_data",),
        kinds=_SOURCE,
    ),
    Entry(
        id="vocabulary",
        signs=("the vocabulary", "the tokenizer cannot be read"),
        cause="The vocabulary or tokenizer is not the one that the network was trained with.",
        remedy="Take it from the same source as the network.",
        redo=("download",),
        kinds=_SOURCE,
    ),
    Entry(
        id="checkpoint",
        signs=("the checkpoint", "the shard", "no table of tensors needs", "a … holds no weights",
               "there is no pytorch_model", "this is no checkpoint of PyTorch",
               "lies outside of its storage", "the storage … is missing, packed or too short"),
        cause="The checkpoint that the network is made of is incomplete or of another network.",
        remedy="Fetch it anew and compare its hashes.",
        redo=("download",),
        kinds=_SOURCE,
    ),
    Entry(
        id="samples-damaged",
        signs=("the preprocessed samples cannot be opened", "the samples are … of shape",
               "there are … samples, but … are to be resident"),
        cause="The preprocessed samples are damaged or were made by other code; too few are there for the "
        "performance sample count.",
        remedy="Run the same command again: a damaged step is found by its hash and made anew. If it "
        "stays so, remove work/cache/preprocess.",
        redo=("preprocess",),
        kinds=(*_SOURCE, "SettingError"),
    ),
    Entry(
        id="mini-changed",
        signs=("of the mini edition is not the one that belongs to this code",),
        cause="A file in models/mini was changed: the rehearsal's network no longer fits its code.",
        remedy="Check the file out again.",
        redo=("make_mini",),
        kinds=_SOURCE,
    ),
    Entry(
        id="network-not-onnx",
        signs=("no ONNX network", "the network cannot be read", "the ONNX checker refuses the network",
               "the weights of … cannot be read", "the weights of … end at byte",
               "the weights of … lie outside", "ONNX Runtime cannot", "the network's nodes form a circle"),
        cause="The file is no sound ONNX network: truncated, damaged, or its external weights are missing.",
        remedy="Fetch or export it anew, with its external weights beside it.",
        redo=("download",),
        kinds=_NETWORK,
    ),
    Entry(
        id="network-other",
        signs=("Expected:", "the network takes … and returns", "the network has …", "the network lacks",
               "the network does not state its", "there is no … network of GPT-J",
               "state without its output", "the network rounds with"),
        cause="The network is sound, but not the benchmark's: other inputs, outputs, layers or operators.",
        remedy="Take the network that the edition names, or export it as the message says.",
        redo=("download",),
        kinds=_NETWORK,
    ),
    Entry(
        id="conversion-failed",
        signs=("the network cannot be converted to",),
        cause="The quantisation or conversion does not know an operator of the network, or ran out of "
        "memory.",
        remedy="Choose fp16 or fp32 for this benchmark, or give the host more memory.",
        redo=("quantize",),
        kinds=_STEP,
    ),
    Entry(
        id="engine-not-understood",
        signs=("TensorRT does not understand the network", "the batch dimension of input",
               "has a free dimension beside the batch", "the network's metadata state profiles",
               "but the engine is to be"),
        cause="TensorRT's parser does not know an operator, its version, or a shape of the network.",
        remedy="Read the operator in the message; another TensorRT may know it, else choose another "
        "precision.",
        redo=("quantize",),
        kinds=_NETWORK,
    ),
    Entry(
        id="engine-not-built",
        signs=("TensorRT did not build the engine", "TensorRT refused the batch sizes"),
        cause="TensorRT found no kernel for a layer in this precision and batch size, or the GPU's memory "
        "does not suffice to try them.",
        remedy="Lower batch_size, or choose another precision; the builder's log lies with the failed step.",
        redo=("build_engine",),
        kinds=_STEP,
    ),
    Entry(
        id="engine-other-gpu",
        signs=("refused compute capability", "TensorRT cannot load the engine on"),
        cause="The engine was built for another GPU or by another TensorRT than the one that runs it.",
        remedy="Correct accelerator in the system file, or install the TensorRT of the build.",
        redo=("build_engine",),
        kinds=_STEP,
    ),
    Entry(
        id="engine-other-samples",
        signs=("the engine takes", "but in the engine it is"),
        cause="The engine and the samples do not belong together: one of them is of another precision.",
        remedy="Run the same command again; if it stays so, remove work/cache/build_engine.",
        redo=("build_engine",),
        kinds=_NETWORK,
    ),
    Entry(
        id="gpu-memory",
        signs=("out of memory for", "cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY"),
        cause="The GPU's memory does not hold engine, samples and the batches of all streams.",
        remedy="Lower batch_size or streams, or end the other processes that nvidia-smi lists.",
        redo=("build_engine",),
        kinds=_STEP,
    ),
    Entry(
        id="gpu-failed",
        signs=("CUDA refused", "TensorRT did not run a batch", "TensorRT refused the address",
               "TensorRT refused the profile", "there is no such GPU", "no such GPU"),
        cause="The GPU or its driver failed, fell off the bus, or is not the one that is asked for.",
        remedy="Look for Xid errors in the kernel's log and at nvidia-smi; restart the driver or the host.",
        kinds=(*_STEP, "SettingError"),
    ),
    Entry(
        id="engine-shape",
        signs=("TensorRT refused … x … as",),
        cause="The engine was built for other shapes than the batch that it was given.",
        remedy="Build it again: remove its folder below work/cache/build_engine/.",
        redo=("build_engine",),
        kinds=_STEP,
    ),
    Entry(
        id="batch-failed",
        signs=("a batch failed during the run",),
        cause="The backend raised an error while LoadGen ran; LoadGen cannot go on after that.",
        remedy="The traceback is in harness.log of the run's folder below work/cache/failed/.",
        kinds=_STEP,
    ),
    Entry(
        id="timeout",
        signs=("ran over its limit of … s and was ended", "did not finish in time and was ended"),
        cause="A step ran over its time limit and was ended with all of its processes: the machine is "
        "slower than the limit foresees, or the step hangs.",
        remedy="If it is only slow, raise limits.<step> in the system file; else look at its log.",
        kinds=("StepTimeoutError",),
    ),
    Entry(
        id="killed-for-memory",
        signs=("ended with signal SIGKILL",),
        cause="The child process was killed from outside. The kernel does so when the host or a container "
        "runs out of memory, and says so in its log.",
        remedy="If the kernel's log says `Out of memory`, give the host more memory, or lower batch_size; "
        "else find out who ended it.",
        kinds=_STEP,
    ),
    Entry(
        id="native-crash",
        signs=("ended with signal SIGSEGV", "ended with signal SIGABRT", "ended with signal SIGBUS",
               "ended with signal SIGILL", "ended with signal SIGFPE"),
        cause="A native library (driver, TensorRT, ONNX Runtime, LoadGen) crashed.",
        remedy="Run again; if it stays so, see that driver and library versions belong together, and look "
        "at the kernel's log for hardware errors.",
        kinds=_STEP,
    ),
    Entry(
        id="step-left-a-link",
        signs=("is a link or a special file, or has no Unicode name",
               "a figure holds the path of the temporary"),
        cause="A step wrote something that cannot be kept: a fault of the step.",
        remedy="Report it with what lies below work/cache/failed/.",
        kinds=_STEP,
    ),
)  # fmt: skip

OTHERWISE_PREPARING = (
    Entry(
        id="unreachable",
        signs=(),
        cause="A server did not answer; the attempts that are made by themselves did not help.",
        remedy="Check the network, and run the same command again.",
        kinds=_UNREACHABLE,
    ),
    Entry(
        id="source",
        signs=(),
        cause="A file that was downloaded or brought is not what it should be.",
        remedy="Take another mirror, or correct the file that is named.",
        redo=("download",),
        kinds=_SOURCE,
    ),
    Entry(
        id="network",
        signs=(),
        cause="A network is not ONNX, or not the benchmark's.",
        remedy="Take the network that the edition names.",
        redo=("download",),
        kinds=_NETWORK,
    ),
    Entry(
        id="disk",
        signs=(),
        cause="A file could not be written: there is no space left where it should stand.",
        remedy="Free some space there; finished steps are kept.",
        kinds=("DiskFullError",),
    ),
    Entry(
        id="step",
        signs=(),
        cause="A step ended without its result; the message has what it said last.",
        remedy="Look at its log, and at what it left below work/cache/failed/.",
        kinds=_STEP,
    ),
    Entry(
        id="step-timeout",
        signs=(),
        cause="A step ran over its time limit and was ended with all of its processes.",
        remedy="If it is only slow, raise limits.<step> in the system file; else look at its log.",
        kinds=("StepTimeoutError",),
    ),
)  # fmt: skip
"""What is said of a failure of these kinds that no sign knows."""
