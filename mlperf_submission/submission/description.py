"""The fields of `systems/<system>.json`: which the checker requires, and how the results page groups them.

Source: rules Y-05, Y-06, Y-11 and N-03 of the v4.1 submission checker, and the published results pages.
"""

from __future__ import annotations

from collections.abc import Mapping

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Accelerator Details": (
        "accelerator_frequency",
        "accelerator_host_interconnect",
        "accelerator_interconnect",
        "accelerator_interconnect_topology",
        "accelerator_memory_capacity",
        "accelerator_memory_configuration",
        "accelerator_model_name",
        "accelerator_on-chip_memories",
        "accelerators_per_node",
    ),
    "Processor and Memory Details": (
        "host_memory_capacity",
        "host_memory_configuration",
        "host_processor_caches",
        "host_processor_core_count",
        "host_processor_frequency",
        "host_processor_interconnect",
        "host_processor_model_name",
        "host_processors_per_node",
    ),
    "Other Hardware Details": (
        "cooling",
        "disk_controllers",
        "disk_drives",
        "hw_notes",
        "other_hardware",
        "power_management",
        "power_supply_details",
        "power_supply_quantity_and_rating_watts",
    ),
    "Network and Interconnect Details": (
        "host_network_card_count",
        "host_networking",
        "host_networking_topology",
        "network_speed_mbit",
        "nics_enabled_connected",
        "nics_enabled_firmware",
        "nics_enabled_os",
        "number_of_type_nics_installed",
    ),
    "Software Details": (
        "boot_firmware_version",
        "framework",
        "management_firmware_version",
        "nics_enabled_firmware",
        "operating_system",
        "other_software_stack",
        "sw_notes",
    ),
}
"""The groups of the published results page, each with its fields in the page's order."""

REQUIRED: tuple[str, ...] = (
    "division",
    "submitter",
    "status",
    "system_name",
    "system_type",
    "system_type_detail",
    "number_of_nodes",
    "host_processor_model_name",
    "host_processors_per_node",
    "host_processor_core_count",
    "host_processor_frequency",
    "host_processor_caches",
    "host_processor_interconnect",
    "host_memory_capacity",
    "host_memory_configuration",
    "host_storage_capacity",
    "host_storage_type",
    "host_networking",
    "host_networking_topology",
    "host_network_card_count",
    "accelerators_per_node",
    "accelerator_model_name",
    "accelerator_memory_capacity",
    "accelerator_frequency",
    "accelerator_host_interconnect",
    "accelerator_interconnect",
    "accelerator_interconnect_topology",
    "accelerator_memory_configuration",
    "accelerator_on-chip_memories",
    "cooling",
    "framework",
    "operating_system",
    "other_software_stack",
    "hw_notes",
    "sw_notes",
)
"""Fields that must be present (Y-05)."""

MAY_BE_EMPTY: frozenset[str] = frozenset(
    {
        "system_type_detail",
        "host_processor_frequency",
        "host_processor_caches",
        "host_processor_interconnect",
        "accelerator_frequency",
        "accelerator_interconnect_topology",
        "accelerator_on-chip_memories",
        "hw_notes",
        "sw_notes",
    }
)
"""Required fields whose value may be empty; all others must be meaningful (Y-06)."""

JOINED = (
    "system_name",
    "host_processor_model_name",
    "accelerator_model_name",
    "framework",
    "operating_system",
)
"""Fields that the official checkers join with other texts (G-07)."""

STATUSES = ("available", "preview", "rdi")
SYSTEM_TYPES = ("datacenter", "edge", "datacenter,edge", "edge,datacenter")
"""What `status` (Y-03) and `system_type` (Y-04) may be."""

MEASURED = (
    "input_data_types",
    "retraining",
    "starting_weights_filename",
    "weight_data_types",
    "weight_transformations",
)
"""The fields of a result's measurements file (E-06)."""

POWER: tuple[str, ...] = (
    "power_management",
    "filesystem",
    "boot_firmware_version",
    "management_firmware_version",
    "other_hardware",
    "number_of_type_nics_installed",
    "nics_enabled_firmware",
    "nics_enabled_os",
    "nics_enabled_connected",
    "network_speed_mbit",
    "power_supply_quantity_and_rating_watts",
    "power_supply_details",
    "disk_drives",
    "disk_controllers",
)
"""Fields that a power submission describes (Y-11)."""

NETWORK: tuple[str, ...] = (
    "is_network",
    "network_type",
    "network_media",
    "network_rate",
    "nic_loadgen",
    "number_nic_loadgen",
    "net_software_stack_loadgen",
    "network_protocol",
    "number_connections",
    "nic_sut",
    "number_nic_sut",
    "net_software_stack_sut",
    "network_topology",
)
"""Fields of a network system (N-03)."""

KNOWN: frozenset[str] = frozenset({*REQUIRED, *POWER, *NETWORK})
