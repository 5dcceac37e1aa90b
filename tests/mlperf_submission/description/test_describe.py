"""The system description: read from this very machine, and from copies of the files and tools of others."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from mlperf_submission.config.system import System
from mlperf_submission.description.accelerators import Gpu, Gpus
from mlperf_submission.description.describe import MachineDescription, describe_machine
from mlperf_submission.description.probe import Probe, ToolOutput, run_tool
from mlperf_submission.submission import description

NO_GPU = "no driver"

LSCPU: dict[str, list[dict[str, Any]]] = {
    "lscpu": [
        {"field": "Model name:", "data": "Intel(R) Xeon(R) Gold 6438N"},
        {"field": "Socket(s):", "data": "2", "children": [{"field": "Core(s) per socket:", "data": "32"}]},
        {"field": "CPU max MHz:", "data": "3600.0000"},
        {"field": "CPU min MHz:", "data": "800.0000"},
        {"field": "L2 cache:", "data": "128 MiB (64 instances)"},
    ]
}
MODULE = """Memory Device
\tSize: 32 GB
\tType: DDR5
\tPart Number: M321R4GA3BB6-CQKDS
\tConfigured Memory Speed: 4800 MT/s
"""
SUPPLY = (
    "System Power Supply\n\tManufacturer: ACBE\n\tModel Part Number: SP57\n\tMax Power Capacity: 1800 W\n"
)
DISKS = {
    "blockdevices": [
        {
            "name": "nvme0n1",
            "size": 2000398934016,
            "rota": False,
            "type": "disk",
            "tran": "nvme",
            "model": "PM9A3",
        },
        {"name": "sda", "size": 480103981056, "rota": False, "type": "disk", "tran": "sata", "model": None},
        {"name": "zram0", "size": 1024, "rota": False, "type": "disk", "tran": None, "model": None},
        {"name": "loop0", "size": 1024, "rota": False, "type": "loop", "tran": None, "model": None},
    ]
}
L40S = Gpu(
    name="NVIDIA L40S",
    memory_bytes=48_305_799_168,
    clock_mhz=2520,
    pcie_generation=4,
    pcie_width=16,
    bus_bits=384,
    nvlinks=0,
    on_chip="L2 96 MB; 142 SMs",
)


def _tools(outputs: Mapping[str, str]) -> Probe:
    def run(argv: Sequence[str]) -> ToolOutput:
        text = outputs.get(" ".join(argv)) or outputs.get(argv[0])
        return ToolOutput(text) if text is not None else ToolOutput(problem="not installed")

    return Probe(run=run)


def _machine(root: Path, outputs: Mapping[str, str], files: Mapping[str, str]) -> Probe:
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    probe = _tools(outputs)
    probe.root = root
    return probe


@pytest.fixture
def server(tmp_path: Path) -> Probe:
    """A machine like the model system: two processors, modules in DMI, NVMe, one card of 25 Gb/s."""
    card = tmp_path / "sys/devices/pci0000/0000:17:00.0"
    card.mkdir(parents=True)
    net = tmp_path / "sys/class/net/ens1"
    net.mkdir(parents=True)
    (net / "device").symlink_to(card)
    return _machine(
        tmp_path,
        {
            "lscpu": json.dumps(LSCPU),
            "dmidecode -t 17": "\n".join([MODULE] * 16),
            "dmidecode -t 39": "\n".join([SUPPLY] * 2),
            "lsblk": json.dumps(DISKS),
            "lspci": "01:00.0 Non-Volatile memory controller: Samsung PM9A3\n02:00.0 VGA controller: X\n",
            "ipmitool": "Device ID : 32\nFirmware Revision         : 3.10\n",
        },
        {
            "/sys/class/net/ens1/type": "1\n",
            "/sys/class/net/ens1/speed": "25000\n",
            "/sys/class/net/ens1/flags": "0x1003\n",
            "/sys/class/net/ens1/carrier": "1\n",
            "/sys/class/dmi/id/sys_vendor": "Lenovo\n",
            "/sys/class/dmi/id/product_name": "ThinkSystem SR650 V3\n",
            "/sys/class/dmi/id/bios_version": "ESE122J\n",
            "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
            "/etc/os-release": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 22.04.4 LTS"\n',
            "/proc/mounts": "proc /proc proc rw 0 0\n/dev/sda2 / xfs rw 0 0\n",
            "/proc/sys/kernel/osrelease": "5.15.0-116-generic\n",
        },
    )


def test_a_server_s_files_and_tools_become_fields(server: Probe) -> None:
    gpus = Gpus((L40S,) * 3, ("SYS", "SYS", "NODE"), driver="555.42", cuda="12.5")
    values = describe_machine(probe=server, gpus=gpus).values()
    expected = {
        "accelerator_model_name": "NVIDIA L40S",
        "accelerators_per_node": 3,
        "accelerator_memory_capacity": "45 GB",
        "accelerator_memory_configuration": "GDDR6, 384 bit",
        "accelerator_frequency": "2520 MHz",
        "accelerator_host_interconnect": "PCIe Gen4 x16",
        "accelerator_interconnect": "N/A",
        "accelerator_interconnect_topology": "2x SYS, 1x NODE",
        "accelerator_on-chip_memories": "L2 96 MB; 142 SMs",
        "host_processor_model_name": "Intel(R) Xeon(R) Gold 6438N",
        "host_processors_per_node": 2,
        "host_processor_core_count": 32,
        "host_processor_frequency": "3600 MHz maximum, 800 MHz minimum",
        "host_processor_caches": "L2 128 MiB (64 instances)",
        "host_memory_capacity": "512 GB",
        "host_memory_configuration": "16x 32GB DDR5 4800 MT/s M321R4GA3BB6-CQKDS",
        "host_storage_capacity": "2.481 TB",
        "host_storage_type": "NVMe SSD, SATA SSD",
        "disk_drives": "1x 2 TB NVMe SSD PM9A3, 1x 480.1 GB SATA SSD",
        "disk_controllers": "1x Samsung PM9A3",
        "host_networking": "1x 25 Gb/s Ethernet",
        "host_network_card_count": "1",
        "network_speed_mbit": "25000",
        "nics_enabled_os": "1",
        "nics_enabled_connected": "1",
        "system_name": "Lenovo ThinkSystem SR650 V3",
        "boot_firmware_version": "ESE122J",
        "management_firmware_version": "3.10",
        "power_management": "CPU frequency governor performance",
        "power_supply_quantity_and_rating_watts": "2x 1800 W",
        "power_supply_details": "2x ACBE SP57",
        "operating_system": "Ubuntu 22.04.4 LTS",
        "filesystem": "xfs",
    }
    assert {name: values[name] for name in expected} == expected
    assert "CUDA 12.5" in str(values["framework"]) and "Driver 555.42" in str(values["other_software_stack"])


def test_nothing_is_guessed_on_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    machine = describe_machine(probe=_machine(tmp_path, {}, {}), gpus=NO_GPU)
    told = {one.name for one in machine.fields if one.state == "read"}
    of_python = {"framework", "other_software_stack"}
    assert told == of_python | {"number_of_nodes"}
    assert all(one.note for one in machine.fields if one.state == "needs a person")
    assert machine.missing["lscpu -J"] == "not installed" and machine.missing["NVML"] == NO_GPU
    assert machine.score.complete < 0.3


PLACEHOLDERS = (
    "-",
    "N/A",
    "Unknown",
    "None",
    "Not Specified",
    "To be filled by O.E.M.",
    "Default string",
    "???",
)


@pytest.mark.parametrize("nothing", PLACEHOLDERS)
def test_a_placeholder_is_no_value_whoever_says_it(tmp_path: Path, nothing: str) -> None:
    names = re.findall(r'"field": "([^"]+)"', json.dumps(LSCPU))
    lscpu = {"lscpu": [{"field": name, "data": nothing} for name in names]}
    module = re.sub(r"(Type|Part Number|Speed): .*", rf"\1: {nothing}", MODULE)
    supply = re.sub(r"(Manufacturer|Model Part Number): .*", rf"\1: {nothing}", SUPPLY)
    disk = {"name": "nvme0n1", "size": 2000398934016, "type": "disk", "model": nothing}
    dmi = ("sys_vendor", "product_name", "bios_vendor", "bios_version", "bios_date")
    probe = _machine(
        tmp_path,
        {
            "lscpu": json.dumps(lscpu),
            "dmidecode -t 17": module,
            "dmidecode -t 39": supply,
            "lsblk": json.dumps({"blockdevices": [disk]}),
            "ipmitool": f"Device ID : 32\nFirmware Revision : {nothing}\n",
        },
        {
            **{f"/sys/class/dmi/id/{name}": f"{nothing}\n" for name in dmi},
            "/proc/cpuinfo": f"model name\t: {nothing}\ncpu MHz\t: {nothing}\ncpu cores\t: {nothing}\n",
            "/etc/os-release": f'PRETTY_NAME="{nothing}"\n',
            "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": nothing,
        },
    )
    machine = describe_machine(probe=probe, gpus=NO_GPU)
    read = {one.name: one.value for one in machine.fields if one.state == "read"}
    own = {"N/A", read["framework"], read["other_software_stack"]}  # ours: that there is none of something
    assert not [name for name, value in read.items() if nothing in str(value) and value not in own]
    assert read["disk_drives"] == "1x 2 TB NVMe SSD"
    assert read["host_memory_configuration"] == "1x 32GB"
    assert read["power_supply_details"] == "1x no name given"
    asked = (
        "host_processors_per_node",
        "host_processor_model_name",
        "host_processor_frequency",
        "system_name",
    )
    assert all(machine.value(name) is None for name in asked)


def test_this_machine_is_described_with_a_source_for_every_value() -> None:
    machine = describe_machine()
    for one in machine.fields:
        assert (one.value is None) == (one.state == "needs a person")
        assert one.source and one.raw and one.time if one.state == "read" else one.note
    values = machine.values()
    assert platform.release() in str(values["other_software_stack"])
    total = psutil.virtual_memory().total
    told = re.fullmatch(r"([\d.]+) (?:GB|GiB)", str(values["host_memory_capacity"]))
    assert told and total * 0.98 <= float(told[1]) * (1 << 30) <= total * 1.3
    if Path("/sys/class/net").is_dir():
        assert int(values["host_network_card_count"]) <= len(os.listdir("/sys/class/net"))  # noqa: PTH208


def test_all_fields_of_the_official_files_are_there() -> None:
    names = [one.name for one in describe_machine(gpus=NO_GPU).fields]
    assert len(names) == len(set(names)) == 49
    assert set(names) == {*description.REQUIRED, *description.POWER}


def test_without_an_accelerator_the_count_is_text(tmp_path: Path) -> None:
    files = {
        "/sys/bus/pci/devices/0000:00:01.0/class": "0x030000\n",
        "/sys/bus/pci/devices/0000:00:01.0/vendor": "0x1234\n",
    }
    values = describe_machine(probe=_machine(tmp_path, {}, files), gpus=NO_GPU).values()
    assert values["accelerators_per_node"] == "0", "the checker takes the number 0 for an empty field (Y-06)"
    assert values["accelerator_model_name"] == "N/A"


def test_accelerators_without_a_driver_are_counted_and_left_to_a_person(tmp_path: Path) -> None:
    files = {}
    for at in range(2):
        files[f"/sys/bus/pci/devices/0000:0{at}:00.0/class"] = "0x030200\n"
        files[f"/sys/bus/pci/devices/0000:0{at}:00.0/vendor"] = "0x10de\n"
    machine = describe_machine(probe=_machine(tmp_path, {}, files), gpus=NO_GPU)
    assert machine.value("accelerators_per_node") == 2
    assert machine.value("accelerator_model_name") is None


def test_an_accelerator_that_no_table_knows_keeps_its_memory_kind_open(server: Probe) -> None:
    machine = describe_machine(probe=server, gpus=Gpus((Gpu("NVIDIA Z1", 1 << 34),)))
    assert machine.value("accelerator_memory_configuration") is None
    assert machine.value("accelerator_memory_capacity") == "16 GB"
    assert machine.value("accelerator_interconnect_topology") == "N/A"


def test_what_a_person_typed_wins_and_a_conflict_is_named(server: Probe) -> None:
    typed: dict[str, str | int] = {
        "host_processor_core_count": 64,
        "operating_system": "ubuntu 22.04.4  LTS",
        "cooling": "Air-cooled",
    }
    machine = describe_machine(probe=server, gpus=NO_GPU, typed_values=typed, typed_in="lenovo.yaml")
    assert machine.value("host_processor_core_count") == 64
    assert machine.value("cooling") == "Air-cooled"
    assert machine.score.typed == 3
    assert machine.conflicts == ("host_processor_core_count: lenovo.yaml says 64, lscpu -J says 32",)


def test_the_yaml_is_the_description_of_a_system_file(server: Probe) -> None:
    machine = describe_machine(
        probe=server,
        gpus=Gpus((L40S,)),
        typed_values={"sw_notes": "two\nlines # and: more", "hw_notes": "\x85 [", "cooling": "yes"},
    )
    block = yaml.safe_load(machine.as_yaml())["description"]
    assert block == {
        name: value for name, value in machine.values().items() if machine.value(name) is not None
    }
    System.model_validate(
        {
            "name": "x",
            "submitter": "y",
            "round": "v4.1",
            "edition": "full",
            "accelerator": {"name": "NVIDIA L40S", "compute_capability": "8.9", "count": 1},
            "description": {**block, "status": "available", "host_networking_topology": "N/A"},
            "benchmarks": {"3d-unet-99": {"precision": "int8", "Offline": {"target_qps": 1}}},
        }
    )


def test_record_and_table_hold_sources_and_missing_tools(server: Probe) -> None:
    machine = describe_machine(probe=server, gpus=NO_GPU)
    again = machine.model_dump(mode="json")
    memory = next(one for one in again["fields"] if one["name"] == "host_memory_configuration")
    assert memory["source"] == "dmidecode -t 17" and "M321R4GA3BB6" in memory["raw"] and memory["time"]
    assert again["missing"] == {"NVML": NO_GPU}
    assert machine.sources()["host_memory_configuration"] == "read: dmidecode -t 17"
    assert machine.sources()["cooling"] == "needs a person"
    table = machine.as_table()
    assert "no answer from `NVML`: no driver" in table
    assert str(machine.score) in table
    assert MachineDescription.model_validate(again) == machine


def test_a_tool_that_is_missing_or_refuses_says_why() -> None:
    assert run_tool(["no-such-tool-anywhere"]).problem == "not installed"
    refused = run_tool(["ls", "/no/such/folder"])
    assert "exit status" in refused.problem and "/no/such/folder" in refused.problem
    assert run_tool(["uname", "-r"]).text.strip() == platform.release()


@pytest.mark.parametrize("digits", ["9" * 5000, "-1", "\u0663", "0x10"])
def test_what_is_no_number_of_a_tool_or_file_is_none(tmp_path: Path, digits: str) -> None:
    memory = f"Memory Device\n\tSize: {digits} GB\n\nPower Supply\n\tMax Power Capacity: {digits} W\n"
    disks = json.dumps({"blockdevices": [{"name": "sda", "size": digits, "type": "disk"}]})
    card, module = "/sys/class/net/eth0", "/sys/devices/system/edac/mc/mc0/dimm0"
    files = {f"{card}/{name}": digits for name in ("flags", "speed", "device/vendor")}
    files |= {f"{module}/size": digits, "/proc/meminfo": f"MemTotal: {digits} kB"}
    machine = describe_machine(
        probe=_machine(tmp_path, {"dmidecode": memory, "lsblk": disks}, files), gpus=NO_GPU
    )
    for name in ("host_memory_capacity", "host_storage_capacity", "power_supply_details"):
        assert machine.value(name) is None


@pytest.mark.parametrize("text", ["", "{", '{"lscpu": 3}', '{"lscpu": [{"data": 1}]}', "[]"])
def test_damaged_output_of_tools_is_no_value(tmp_path: Path, text: str) -> None:
    machine = describe_machine(probe=_machine(tmp_path, {"lscpu": text, "lsblk": text}, {}), gpus=NO_GPU)
    assert machine.value("host_processor_model_name") is None
    assert machine.value("host_storage_capacity") is None
