"""Disks and network cards."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlperf_submission.description.fields import FieldValue, ask, counted, found
from mlperf_submission.description.probe import Probe, Reading, told, whole_number

_LINKS = {"1": "Ethernet", "32": "InfiniBand"}
_UP = 0x1
_NETWORK_FIELDS = (
    "host_network_card_count",
    "host_networking",
    "host_networking_topology",
    "number_of_type_nics_installed",
    "network_speed_mbit",
    "nics_enabled_os",
    "nics_enabled_connected",
    "nics_enabled_firmware",
)


@dataclass(frozen=True)
class Disk:
    """One disk: size in bytes, kind, and model if it tells one."""

    size: int
    kind: str
    model: str


@dataclass(frozen=True)
class Card:
    """One network interface that a device is behind. Speed in Mbit/s; None where it is not told."""

    name: str
    device: str
    driver: str
    link: str
    speed: int | None
    is_up: bool
    is_connected: bool


def storage_fields(probe: Probe) -> Iterator[FieldValue]:
    """Yield the disks: lsblk."""
    reading = probe.tool("lsblk", "-J", "-b", "-d", "-o", "NAME,SIZE,ROTA,TYPE,TRAN,MODEL")
    disks = _disks(reading)
    if reading and disks:
        total = sum(disk.size for disk in disks)
        yield found("host_storage_capacity", _decimal(total), reading)
        yield found("host_storage_type", ", ".join(dict.fromkeys(disk.kind for disk in disks)), reading)
        names = [
            " ".join(part for part in (_decimal(disk.size), disk.kind, disk.model) if part) for disk in disks
        ]
        yield found("disk_drives", counted(names), reading)
    else:
        for name in ("host_storage_capacity", "host_storage_type", "disk_drives"):
            yield ask(name, "lsblk lists no disks")
    yield _controllers(probe)


def network_fields(probe: Probe) -> Iterator[FieldValue]:
    """Yield the network cards: /sys/class/net, interfaces with a device behind them."""
    if not probe.folders("/sys/class/net"):
        for name in _NETWORK_FIELDS:
            yield ask(name, "the kernel lists no network interfaces (/sys/class/net)")
        return
    cards = list(_cards(probe))
    seen = "\n".join(
        f"{card.name}: device {card.device}, driver {card.driver}, {card.link}, "
        f"{'no speed told' if card.speed is None else f'{card.speed} Mbit/s'}, "
        f"{'up' if card.is_up else 'down'}, {'connected' if card.is_connected else 'not connected'}"
        for card in cards
    )
    reading = probe.said("/sys/class/net", seen or "no interface with a device behind it")
    devices = {card.device for card in cards}
    yield found(
        "host_network_card_count", str(len(devices)), reading, "devices; a card with two ports may be two"
    )
    if cards:
        told = [f"{_speed(card.speed)} {card.link}" if card.speed else card.link for card in cards]
        note = "" if all(card.speed for card in cards) else "not every card tells its speed"
        yield found("host_networking", counted(told), reading, note)
        yield found(
            "number_of_type_nics_installed", counted([card.driver for card in cards]), reading, "by driver"
        )
    else:
        yield ask("host_networking", "there is no network card")
        yield ask("number_of_type_nics_installed", "there is no network card")
    speeds = [str(card.speed) for card in cards if card.speed]
    if speeds:
        yield found("network_speed_mbit", ", ".join(dict.fromkeys(speeds)), reading)
    else:
        yield ask("network_speed_mbit", "no card tells its speed (virtual ones do not)")
    yield found("nics_enabled_os", str(sum(card.is_up for card in cards)), reading, "interfaces that are up")
    yield found(
        "nics_enabled_connected", str(sum(card.is_connected for card in cards)), reading, "with a carrier"
    )
    yield found(
        "nics_enabled_firmware", str(len(devices)), reading, "devices that the firmware shows to the kernel"
    )
    yield ask("host_networking_topology", "how the machine is wired to others is for a person to say")


def _disks(reading: Reading | None) -> list[Disk]:
    if reading is None:
        return []
    try:
        entries: list[Any] = list(json.loads(reading.raw)["blockdevices"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    disks = []
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        name, shown = str(entry.get("name", "")), str(entry.get("size") or "")
        size = whole_number(shown) or 0
        if entry.get("type") != "disk" or size == 0 or name.startswith(("zram", "ram", "loop", "nbd")):
            continue
        disks.append(Disk(size, _kind(name, entry), told(str(entry.get("model") or ""))))
    return disks


def _kind(name: str, entry: dict[str, Any]) -> str:
    if entry.get("tran") == "nvme" or name.startswith("nvme"):
        return "NVMe SSD"
    if name.startswith(("vd", "xvd")):
        return "virtual disk"
    spins = entry.get("rota") in (True, "1", 1)
    bus = str(entry.get("tran") or "").upper()
    return f"{bus} {'HDD' if spins else 'SSD'}".strip()


def _controllers(probe: Probe) -> FieldValue:
    reading = probe.tool("lspci")
    lines = [
        line
        for line in (reading.lines if reading else [])
        if re.search(r"(?i)raid|sata|sas|nvme|non-volatile", line)
    ]
    if reading and lines:
        names = [line.partition(": ")[2] or line for line in lines]
        return found("disk_controllers", counted(names), probe.said(reading.source, "\n".join(lines)))
    if reading:
        return ask("disk_controllers", "lspci lists no disk controller")
    return ask("disk_controllers", "lspci gave nothing")


def _cards(probe: Probe) -> Iterator[Card]:
    for folder in probe.folders("/sys/class/net"):
        base = f"/sys/class/net/{folder.name}"
        device = folder / "device"
        if not device.exists():
            continue
        driver = device / "driver"
        kind, speed, flags, carrier = (
            probe.file(f"{base}/{name}") for name in ("type", "speed", "flags", "carrier")
        )
        mbit = whole_number(speed.raw) if speed else None
        yield Card(
            name=folder.name,
            device=device.resolve().name,
            driver=driver.resolve().name if driver.exists() else "no driver",
            link=_LINKS.get(kind.raw if kind else "", "other link"),
            speed=mbit or None,
            is_up=bool(flags and re.fullmatch(r"0x[0-9a-f]{1,8}", flags.raw) and int(flags.raw, 16) & _UP),
            is_connected=bool(carrier and carrier.raw == "1"),
        )


def _speed(mbit: int | None) -> str:
    return "" if mbit is None else f"{mbit / 1000:g} Gb/s" if mbit >= 1000 else f"{mbit} Mb/s"


def _decimal(size: int) -> str:
    for unit, scale in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if size >= scale:
            return f"{size / scale:.4g} {unit}"
    return f"{size} B"
