"""The accelerators: NVIDIA's management library, and the CUDA driver for what that one does not tell."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlperf_submission.description.fields import FieldValue, ask, counted, found
from mlperf_submission.description.probe import Probe, Reading

_MEMORY_KINDS: Mapping[str, str] = {
    "NVIDIA L4": "GDDR6",
    "NVIDIA L40": "GDDR6",
    "NVIDIA L40S": "GDDR6",
    "NVIDIA A10": "GDDR6",
    "NVIDIA A30": "HBM2",
    "NVIDIA A100-SXM4-40GB": "HBM2",
    "NVIDIA A100-PCIE-40GB": "HBM2",
    "NVIDIA A100-SXM4-80GB": "HBM2e",
    "NVIDIA A100 80GB PCIe": "HBM2e",
    "NVIDIA H100 80GB HBM3": "HBM3",
    "NVIDIA H100 PCIe": "HBM2e",
    "NVIDIA H100 NVL": "HBM3",
    "NVIDIA H200": "HBM3e",
    "NVIDIA H200 NVL": "HBM3e",
    "NVIDIA B200": "HBM3e",
}
"""Kind of memory by NVIDIA's exact product name, from its data sheets: no library tells it."""
_PATHS = {0: "same board", 10: "PIX", 20: "PXB", 30: "PHB", 40: "NODE", 50: "SYS"}
"""nvmlGpuTopologyLevel_t, in the abbreviations of `nvidia-smi topo -m`."""
_FIELDS = (
    "accelerator_model_name",
    "accelerators_per_node",
    "accelerator_memory_capacity",
    "accelerator_memory_configuration",
    "accelerator_frequency",
    "accelerator_host_interconnect",
    "accelerator_interconnect",
    "accelerator_interconnect_topology",
    "accelerator_on-chip_memories",
)
_DISPLAY_CLASSES = ("0x0300", "0x0302", "0x1200")
_NVIDIA = "0x10de"
_CUDA_SM_COUNT, _CUDA_L2_BYTES, _CUDA_SHARED_BYTES, _CUDA_REGISTERS = 16, 38, 81, 82


@dataclass(frozen=True)
class Gpu:
    """One GPU as the management library tells it. None: it does not tell."""

    name: str
    memory_bytes: int
    clock_mhz: int | None = None
    pcie_generation: int | None = None
    pcie_width: int | None = None
    bus_bits: int | None = None
    nvlinks: int | None = None
    on_chip: str = ""


@dataclass(frozen=True)
class Gpus:
    """All GPUs of the machine, the paths between each two, and versions of driver and CUDA."""

    gpus: tuple[Gpu, ...]
    paths: tuple[str, ...] = ()
    driver: str = ""
    cuda: str = ""


def read_gpus() -> Gpus | str:
    """Return the GPUs, or why the management library gives none."""
    try:
        import pynvml
    except ImportError:
        return "the package nvidia-ml-py is not installed"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return f"NVIDIA's management library does not start: {error}"
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(at) for at in range(pynvml.nvmlDeviceGetCount())]

        def told(name: str, *arguments: object) -> object:
            try:
                return getattr(pynvml, name)(*arguments)
            except (pynvml.NVMLError, AttributeError):
                return None

        def whole(name: str, *arguments: object) -> int | None:
            value = told(name, *arguments)
            return value if isinstance(value, int) and value > 0 else None

        gpus = []
        for at, handle in enumerate(handles):
            links = [told("nvmlDeviceGetNvLinkState", handle, link) for link in range(18)]
            gpus.append(
                Gpu(
                    name=_text(pynvml.nvmlDeviceGetName(handle)),
                    memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
                    clock_mhz=whole("nvmlDeviceGetMaxClockInfo", handle, pynvml.NVML_CLOCK_SM),
                    pcie_generation=whole("nvmlDeviceGetMaxPcieLinkGeneration", handle),
                    pcie_width=whole("nvmlDeviceGetMaxPcieLinkWidth", handle),
                    bus_bits=whole("nvmlDeviceGetMemoryBusWidth", handle),
                    nvlinks=sum(link == 1 for link in links),
                    on_chip=_on_chip(at),
                )
            )
        paths = []
        for at, handle in enumerate(handles):
            for other in handles[at + 1 :]:
                level = told("nvmlDeviceGetTopologyCommonAncestor", handle, other)
                paths.append(_PATHS.get(level, "not told") if isinstance(level, int) else "not told")
        cuda = whole("nvmlSystemGetCudaDriverVersion")
        return Gpus(
            tuple(gpus),
            tuple(paths),
            _text(told("nvmlSystemGetDriverVersion") or ""),
            f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else "",
        )
    except pynvml.NVMLError as error:
        return f"NVIDIA's management library gives no answer: {error}"
    finally:
        pynvml.nvmlShutdown()


def accelerator_fields(probe: Probe, gpus: Gpus | str) -> Iterator[FieldValue]:
    """Yield the fields of the accelerators."""
    if isinstance(gpus, str) or not gpus.gpus:
        yield from _without_driver(probe, gpus if isinstance(gpus, str) else "it lists no GPU")
        return
    all_ = gpus.gpus
    reading = probe.said("NVML (nvidia-ml-py)", "\n".join(repr(gpu) for gpu in all_))

    def each(values: Sequence[str]) -> str:
        kinds = list(dict.fromkeys(values))
        return kinds[0] if len(kinds) == 1 else counted(values)

    yield found("accelerator_model_name", each([gpu.name for gpu in all_]), reading)
    yield found("accelerators_per_node", len(all_), reading)
    sizes = [f"{gpu.memory_bytes / (1 << 30):.0f} GB" for gpu in all_]
    yield found("accelerator_memory_capacity", each(sizes), reading, "what the driver can use, in GiB")
    yield _memory_kind(all_, reading)
    clocks = [f"{gpu.clock_mhz} MHz" for gpu in all_ if gpu.clock_mhz]
    yield (
        found("accelerator_frequency", each(clocks), reading, "the highest SM clock")
        if len(clocks) == len(all_)
        else ask("accelerator_frequency", "the driver does not tell the highest clock")
    )
    lanes = [
        f"PCIe Gen{g.pcie_generation} x{g.pcie_width}" for g in all_ if g.pcie_generation and g.pcie_width
    ]
    yield (
        found("accelerator_host_interconnect", each(lanes), reading, "the most that the link can do")
        if len(lanes) == len(all_)
        else ask("accelerator_host_interconnect", "the driver does not tell the PCIe link")
    )
    links = [f"NVLink, {gpu.nvlinks} links" if gpu.nvlinks else "N/A" for gpu in all_]
    note = "" if any(gpu.nvlinks for gpu in all_) else "no NVLink is active"
    yield found("accelerator_interconnect", each(links), reading, note)
    if len(all_) == 1:
        yield found("accelerator_interconnect_topology", "N/A", reading, "there is one accelerator")
    elif gpus.paths and "not told" not in gpus.paths:
        yield found("accelerator_interconnect_topology", counted(gpus.paths), reading, "path of each two")
    else:
        yield ask(
            "accelerator_interconnect_topology", "the driver does not tell the paths between accelerators"
        )
    chips = [gpu.on_chip for gpu in all_ if gpu.on_chip]
    yield (
        found(
            "accelerator_on-chip_memories", each(chips), probe.said("CUDA driver (libcuda.so.1)", each(chips))
        )
        if len(chips) == len(all_)
        else ask("accelerator_on-chip_memories", "the CUDA driver cannot be asked")
    )


def _memory_kind(gpus: Sequence[Gpu], reading: Reading) -> FieldValue:
    name = "accelerator_memory_configuration"
    kinds = {_MEMORY_KINDS.get(gpu.name) for gpu in gpus}
    kind = next(iter(kinds)) if len(kinds) == 1 else None
    if kind is None:
        return ask(
            name, "no library tells the kind of memory, and our table of data sheets lacks this accelerator"
        )
    bits = {gpu.bus_bits for gpu in gpus}
    width = next(iter(bits)) if len(bits) == 1 else None
    source = Reading(f"NVIDIA's data sheet of {gpus[0].name}; {reading.source}", reading.raw, reading.time)
    return found(name, f"{kind}, {width} bit" if width else kind, source)


def _without_driver(probe: Probe, why: str) -> Iterator[FieldValue]:
    place, devices = "/sys/bus/pci/devices", []
    folders = probe.folders(place)
    for folder in folders:
        kind, vendor = (probe.file(f"{place}/{folder.name}/{file}") for file in ("class", "vendor"))
        if kind and vendor and kind.raw[:6] in _DISPLAY_CLASSES and vendor.raw == _NVIDIA:
            devices.append(folder.name)
    if not folders:
        for name in _FIELDS:
            yield ask(name, f"{why}, and the kernel lists no PCI devices")
        return
    if devices:
        reading = probe.said(place, "\n".join(devices))
        yield found("accelerators_per_node", len(devices), reading, f"PCI devices of NVIDIA; {why}")
        for name in _FIELDS:
            if name != "accelerators_per_node":
                yield ask(name, why)
        return
    reading = probe.said(place, "no accelerator of NVIDIA")
    for name in _FIELDS:
        if name == "accelerators_per_node":  # text: the checker takes the number 0 for an empty field (Y-06)
            yield found(name, "0", reading, "no accelerator of NVIDIA; of others we know nothing")
        else:
            yield found(name, "N/A", reading, "there is no accelerator of NVIDIA")


def _on_chip(device: int) -> str:
    """Return caches, shared memory and registers of a device; empty if the CUDA driver cannot be asked."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ""
    handle = ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(handle), device):
        return ""
    values = []
    for attribute in (_CUDA_SM_COUNT, _CUDA_L2_BYTES, _CUDA_SHARED_BYTES, _CUDA_REGISTERS):
        value = ctypes.c_int()
        if cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, handle):
            return ""
        values.append(value.value)
    count, l2, shared, registers = values
    return (
        f"L2 {l2 / (1 << 20):g} MB; {count} SMs with {shared / 1024:g} KB shared memory "
        f"and {registers * 4 / 1024:g} KB registers each"
    )


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
