"""From where on a timed run counts as disturbed."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class DisturbanceLimits(BaseModel):
    """From where on a run counts as disturbed. What has no limit here always disturbs.

    That is: another process on a GPU, a GPU that was slowed down, governors or clocks that were changed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    other_cpu_share: float = Field(
        default=0.10, ge=0, description="CPU time of other processes, as a share of all cores over the run"
    )
    stolen_share: float = Field(default=0.02, ge=0, description="CPU time that the hypervisor took, likewise")
    swapped_bytes: int = Field(default=64 << 20, ge=0, description="bytes swapped during the run")
    temperature: int = Field(default=90, gt=0, description="of a GPU, in degrees Celsius")
