"""What runs the networks here: TensorRT on the GPUs of the system file, or ONNX Runtime on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flows.request import SubmissionRequest
from tasks.hardware import gpus_for


@dataclass(frozen=True)
class Runner:
    """What runs the networks of a request.

    Attributes:
        backend: None: nothing does. Networks with random weights are then only built.
        devices: CUDA's ordinals of the GPUs; empty on the CPU.
        obstacle: why the GPUs that the system file names cannot be used here; empty if they can, or need not.
        memory: bytes of the smallest of these GPUs; None where CUDA does not say.
    """

    backend: Literal["tensorrt", "onnxruntime"] | None
    devices: tuple[int, ...] = ()
    obstacle: str = ""
    memory: int | None = None

    @property
    def is_stuck(self) -> bool:
        """Whether runs would fail here: they need GPUs that cannot be used."""
        return self.backend == "tensorrt" and bool(self.obstacle)


def runner_of(request: SubmissionRequest) -> Runner:
    """Return what runs the networks of a request on this host.

    Only a rehearsal turns to the CPU by itself, or takes another GPU that the engines fit: what is measured
    in full is measured on what the system file describes, or not at all.
    """
    system = request.system
    if system.backend == "onnxruntime":
        return Runner("onnxruntime")
    gpus = gpus_for(system.accelerator, by_name=not request.on_mini_data)
    if not gpus.obstacle:
        return Runner("tensorrt", gpus.ordinals, memory=gpus.memory)
    if request.weights == "random":
        return Runner(None, obstacle=gpus.obstacle)
    turns_to_cpu = system.is_rehearsal and system.backend == "auto"
    return Runner("onnxruntime" if turns_to_cpu else "tensorrt", obstacle=gpus.obstacle)
