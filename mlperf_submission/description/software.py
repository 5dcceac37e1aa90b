"""The software: what runs the networks, and what it stands on."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from importlib import metadata

from mlperf_submission.description.accelerators import Gpus
from mlperf_submission.description.fields import FieldValue, ask, found
from mlperf_submission.description.probe import Probe

_FRAMEWORKS = (("TensorRT", "tensorrt"), ("TensorRT-RTX", "tensorrt-rtx"), ("ONNX Runtime", "onnxruntime"))
_STACK = (("LoadGen", "mlcommons-loadgen"), ("ONNX", "onnx"), ("NumPy", "numpy"), ("Prefect", "prefect"))
_CUDA_PACKAGES = (("cuDNN", "nvidia-cudnn-cu12"), ("cuDNN", "nvidia-cudnn-cu13"))


def software_fields(probe: Probe, gpus: Gpus | str) -> Iterator[FieldValue]:
    """Yield framework and software stack from the installed packages and the driver."""
    frameworks = _installed(_FRAMEWORKS)
    cuda = [f"CUDA {gpus.cuda}"] if isinstance(gpus, Gpus) and gpus.cuda else []
    packages = "Python packages (importlib.metadata)"
    if frameworks:
        note = (
            "" if len(frameworks) == 1 else "all that is installed; keep what the results were measured with"
        )
        text = ", ".join([*frameworks, *cuda])
        yield found("framework", text, probe.said(packages, text), note)
    else:
        yield ask("framework", "neither TensorRT nor ONNX Runtime is installed in this environment")
    kernel = probe.file("/proc/sys/kernel/osrelease")
    stack = [*frameworks, *cuda, *_installed(_CUDA_PACKAGES)]
    if isinstance(gpus, Gpus) and gpus.driver:
        stack.append(f"Driver {gpus.driver}")
    stack += [*_installed(_STACK), f"Python {platform.python_version()}"]
    if kernel:
        stack.append(f"Linux {kernel.raw}")
    text = ", ".join(dict.fromkeys(stack))
    yield found("other_software_stack", text, [probe.said(packages, text), kernel])
    yield ask("sw_notes", "notes are for a person to write; may be empty")


def submission_fields() -> Iterator[FieldValue]:
    """Yield the fields that say who submits what; only a person knows them."""
    for name, why in (
        ("division", "closed, open or network: the submitter's choice"),
        ("submitter", "the submitter's name, as its directory has it"),
        ("status", "available, preview or rdi: the submitter's statement"),
        ("system_type", "datacenter or edge: the submitter's choice"),
        ("system_type_detail", "the submitter's choice; may be empty"),
    ):
        yield ask(name, why)


def _installed(packages: Sequence[tuple[str, str]]) -> list[str]:
    found_: list[str] = []
    for title, package in packages:
        try:
            found_.append(f"{title} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return found_
