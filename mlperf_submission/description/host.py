"""The host: processors, memory, firmware, power, operating system."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from mlperf_submission.description.fields import FieldValue, ask, counted, found
from mlperf_submission.description.probe import Probe, Reading, blocks_in, facts_in, told, whole_number

_GIB = 1 << 30


def processor_fields(probe: Probe) -> Iterator[FieldValue]:
    """Yield the fields of the processors: lscpu, else /proc/cpuinfo and /sys/devices/system/cpu."""
    lscpu = probe.tool("lscpu", "-J")
    facts = _lscpu(lscpu)
    info = probe.file("/proc/cpuinfo")
    listed = blocks_in(info.raw) if info else []

    def either(name: str, key: str, other: str | None) -> FieldValue:
        if facts.get(key) and lscpu:
            value = facts[key]
            return found(name, _plainest(value), probe.said(lscpu.source, f"{key}: {value}"))
        if other and info:
            return found(name, _plainest(other), probe.said(info.source, other))
        return ask(name, "neither lscpu nor /proc/cpuinfo tells it")

    packages = {block["physical id"] for block in listed if "physical id" in block}
    first = listed[0] if listed else {}
    yield either("host_processor_model_name", "Model name", first.get("model name"))
    yield either("host_processors_per_node", "Socket(s)", str(len(packages)) if packages else None)
    yield either("host_processor_core_count", "Core(s) per socket", first.get("cpu cores"))
    yield _frequency(probe, facts, lscpu, first, info)
    caches = [
        f"{level} {facts[f'{level} cache']}"
        for level in ("L1d", "L1i", "L2", "L3")
        if facts.get(f"{level} cache")
    ]
    if caches and lscpu:
        yield found("host_processor_caches", "; ".join(caches), probe.said(lscpu.source, "\n".join(caches)))
    else:
        yield _caches(probe)
    sockets = facts.get("Socket(s)") or str(len(packages))
    if sockets == "1" and (reading := lscpu or info):
        yield found(
            "host_processor_interconnect",
            "N/A",
            probe.said(reading.source, "Socket(s): 1"),
            "there is one processor",
        )
    else:
        yield ask("host_processor_interconnect", "no standard file or tool names the link between processors")


def memory_fields(probe: Probe) -> Iterator[FieldValue]:
    """Yield capacity and configuration: dmidecode (root), else the kernel's error detection, else meminfo."""
    modules, note = _dmi_modules(probe), ""
    if not modules:
        modules, note = _edac_modules(probe), "the part numbers are not told"
    if modules:
        reading, sizes, names = modules
        yield found("host_memory_capacity", f"{sum(sizes) / _GIB:.0f} GB", reading)
        yield found("host_memory_configuration", counted(names), reading, note)
        return
    meminfo = probe.file("/proc/meminfo")
    total = re.search(r"MemTotal:\s*([0-9]{1,15}) kB", meminfo.raw) if meminfo else None
    if meminfo and total:
        gib = int(total[1]) * 1024 / _GIB
        note = "what the kernel can use, less than what is installed; dmidecode as root tells the modules"
        yield found("host_memory_capacity", f"{gib:.1f} GiB", probe.said(meminfo.source, total[0]), note)
    else:
        yield ask("host_memory_capacity", "/proc/meminfo cannot be read")
    yield ask("host_memory_configuration", "dmidecode gave nothing and the kernel lists no modules")


def platform_fields(probe: Probe) -> Iterator[FieldValue]:
    """Yield firmware, power, cooling and the name of the machine."""
    vendor, version, date = (
        probe.file(f"/sys/class/dmi/id/bios_{name}") for name in ("vendor", "version", "date")
    )
    if version:
        text = " ".join(one.raw for one in (vendor, version, date) if one)
        yield found("boot_firmware_version", text, [vendor, version, date])
    else:
        yield ask("boot_firmware_version", "the machine gives no DMI table (/sys/class/dmi/id)")
    bmc = probe.tool("ipmitool", "mc", "info")
    revision = facts_in(bmc.raw).get("Firmware Revision") if bmc else None
    if bmc and revision:
        yield found("management_firmware_version", revision, bmc)
    else:
        yield ask("management_firmware_version", "ipmitool gave nothing")
    yield _governor(probe)
    yield from _supplies(probe)
    yield ask("cooling", "no standard file or tool tells how the machine is cooled")
    yield ask("other_hardware", "what else is worth naming is for a person to say")
    yield ask("hw_notes", "notes are for a person to write; may be empty")
    maker, product = probe.file("/sys/class/dmi/id/sys_vendor"), probe.file("/sys/class/dmi/id/product_name")
    if product:
        name = " ".join(one.raw for one in (maker, product) if one)
        yield found(
            "system_name", name, [maker, product], "add accelerators and software, as the round's names do"
        )
    else:
        yield ask("system_name", "the machine gives no DMI table (/sys/class/dmi/id)")
    yield found(
        "number_of_nodes", 1, probe.said("mlperf-submission describe", "1"), "this describes one machine"
    )


def system_fields(probe: Probe) -> Iterator[FieldValue]:
    """Yield the operating system and the file system that holds its root."""
    release = probe.file("/etc/os-release")
    pretty = re.search(r'^PRETTY_NAME="?([^"\n]+)"?', release.raw, re.MULTILINE) if release else None
    if release and pretty and told(pretty[1]):
        yield found("operating_system", pretty[1], probe.said(release.source, pretty[0]))
    else:
        yield ask("operating_system", "/etc/os-release does not name it")
    mounts = probe.file("/proc/mounts")
    kinds = [
        parts[2]
        for line in (mounts.lines if mounts else [])
        if len(parts := line.split()) > 2 and parts[1] == "/"
    ]
    if mounts and kinds:
        yield found("filesystem", kinds[-1], probe.said(mounts.source, f"/ {kinds[-1]}"))
    else:
        yield ask("filesystem", "/proc/mounts does not name the root file system")


def _lscpu(reading: Reading | None) -> dict[str, str]:
    if reading is None:
        return {}
    try:
        entries = json.loads(reading.raw)["lscpu"]
        facts: dict[str, str] = {}
        queue = list(entries)
        while queue:
            entry = queue.pop(0)
            facts.setdefault(str(entry["field"]).rstrip(":"), told(str(entry.get("data") or "")))
            queue.extend(entry.get("children", []))
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return facts


def _frequency(
    probe: Probe, facts: dict[str, str], lscpu: Reading | None, first: dict[str, str], info: Reading | None
) -> FieldValue:
    name = "host_processor_frequency"
    low, high, now = (
        _number(text) for text in (facts.get("CPU min MHz"), facts.get("CPU max MHz"), first.get("cpu MHz"))
    )
    if high and lscpu:
        text = f"{high:.0f} MHz maximum" + (f", {low:.0f} MHz minimum" if low else "")
        return found(name, text, probe.said(lscpu.source, f"CPU max MHz: {high}; CPU min MHz: {low}"))
    if now and info:
        text = f"{now:.0f} MHz"
        note = "the frequency at that moment; the machine tells no maximum"
        return found(name, text, probe.said(info.source, f"cpu MHz: {first['cpu MHz']}"), note)
    return ask(name, "neither lscpu nor /proc/cpuinfo tells it")


def _plainest(text: str) -> int | str:
    number = whole_number(text)
    return text if number is None else number


def _number(text: str | None) -> float | None:
    """Return a number above 0 of a tool; None if it says none."""
    return float(text) if text and re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text) else None


def _caches(probe: Probe) -> FieldValue:
    sizes = []
    for folder in probe.folders("/sys/devices/system/cpu/cpu0/cache"):
        path = f"/sys/devices/system/cpu/cpu0/cache/{folder.name}"
        level, kind, size = (probe.file(f"{path}/{name}") for name in ("level", "type", "size"))
        if level and kind and size:
            suffix = {"Data": "d", "Instruction": "i"}.get(kind.raw, "")
            sizes.append(f"L{level.raw}{suffix} {size.raw}")
    if not sizes:
        return ask("host_processor_caches", "neither lscpu nor /sys/devices/system/cpu tells it")
    reading = probe.said("/sys/devices/system/cpu/cpu0/cache", "\n".join(sizes))
    return found("host_processor_caches", "; ".join(sizes), reading, "as the first core sees them")


def _dmi_modules(probe: Probe) -> tuple[Reading, list[int], list[str]] | None:
    reading = probe.tool("dmidecode", "-t", "17")
    if reading is None:
        return None
    sizes, names = [], []
    for facts in blocks_in(reading.raw):
        size = re.fullmatch(r"([0-9]{1,9}) (MB|GB|TB|MiB|GiB)", facts.get("Size", ""))
        if not size:
            continue
        count = int(size[1]) * {"M": 1 << 20, "G": 1 << 30, "T": 1 << 40}[size[2][0]]
        sizes.append(count)
        known = [facts[key] for key in ("Type", "Configured Memory Speed", "Part Number") if key in facts]
        names.append(" ".join([f"{count / _GIB:g}GB", *known]))
    return (reading, sizes, names) if sizes else None


def _edac_modules(probe: Probe) -> tuple[Reading, list[int], list[str]] | None:
    base = "/sys/devices/system/edac/mc"
    sizes, names = [], []
    for controller in probe.folders(base):
        for module in probe.folders(f"{base}/{controller.name}"):
            path = f"{base}/{controller.name}/{module.name}"
            size, kind = probe.file(f"{path}/size"), probe.file(f"{path}/dimm_mem_type")
            megabytes = whole_number(size.raw) if size else None
            if module.name.startswith(("dimm", "rank")) and megabytes:
                sizes.append(megabytes << 20)
                names.append(f"{megabytes / 1024:g}GB {kind.raw if kind else ''}".strip())
    return (probe.said(base, "\n".join(names)), sizes, names) if sizes else None


def _governor(probe: Probe) -> FieldValue:
    base = "/sys/devices/system/cpu/cpu0/cpufreq"
    governor, driver = probe.file(f"{base}/scaling_governor"), probe.file(f"{base}/scaling_driver")
    if governor:
        text = f"CPU frequency governor {governor.raw}" + (f" ({driver.raw})" if driver else "")
        return found("power_management", text, [governor, driver], "as the first core has it")
    return ask("power_management", "the kernel manages no CPU frequency here (no cpufreq folder)")


def _supplies(probe: Probe) -> Iterator[FieldValue]:
    reading = probe.tool("dmidecode", "-t", "39")
    watts, details = [], []
    for facts in blocks_in(reading.raw) if reading else []:
        power = re.fullmatch(r"([0-9]{1,9}) W", facts.get("Max Power Capacity", ""))
        if power:
            watts.append(f"{power[1]} W")
            parts = [facts[key] for key in ("Manufacturer", "Model Part Number") if key in facts]
            details.append(" ".join(parts) or "no name given")
    if reading and watts:
        yield found("power_supply_quantity_and_rating_watts", counted(watts), reading)
        yield found("power_supply_details", counted(details), reading)
        return
    for name in ("power_supply_quantity_and_rating_watts", "power_supply_details"):
        yield ask(name, "dmidecode (as root) lists no power supplies with their power")
