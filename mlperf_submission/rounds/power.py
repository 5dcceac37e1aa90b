"""What the rounds ask of a power measurement: the daemon's version, the official programs, the ranges.

Source: `power_checker.py` and `sources_checksums.json` of mlcommons/inference at the tags v4.1, v5.0.1 and
v5.1.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class PowerRules:
    """What a round asks of a power measurement.

    Attributes:
        daemon_version: the version of the power daemon (PTDaemon) that is accepted (W-10).
        sources: SHA-1 of the files of the official programs (W-06).
        analyzers_listed: `ptd_config` of the server is a list of analyzers, not one (W-11).
        amps_restored_by: the command `SR,A` that may restore the range of amperes at the end: the third, or
            one of the third and the fourth, which both have to be there (W-10).
    """

    daemon_version: str
    sources: Mapping[str, str]
    analyzers_listed: bool = False
    amps_restored_by: tuple[int, ...] = (3,)


_SOURCES = MappingProxyType(
    {
        "__init__.py": "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "client.py": "33ca4f26368777ac06e01f9567b714a4b8063886",
        "lib/__init__.py": "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "lib/client.py": "ac2aa093c8e8bbc9569b9e2a3471bc64e58a2258",
        "lib/common.py": "611d8b29633d331eb19c9455ea3b5fa3284ed6df",
        "lib/external/__init__.py": "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "lib/external/ntplib.py": "4da8f970656505a40483206ef2b5d3dd5e81711d",
        "lib/server.py": "99303c836c683aa9017ec565104e636161d02acb",
        "lib/source_hashes.py": "60a2e02193209e8d392803326208d5466342da18",
        "lib/summary.py": "aa92f0a3f975eecd44d3c0cd0236342ccc9f941d",
        "lib/time_sync.py": "80894ef2389e540781ff78de94db16aa4203a14e",
        "server.py": "c3f90f2f7eeb4db30727556d0c815ebc89b3d28b",
        "tests/unit/__init__.py": "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "tests/unit/test_server.py": "948c1995d4008bc2aa6c4046a34ffa3858d6d671",
        "tests/unit/test_source_hashes.py": "00468a2907583c593e6574a1f6b404e4651c221a",
    }
)
_SOURCES_V5 = MappingProxyType(
    {
        **_SOURCES,
        "lib/server.py": "9bc9a3b6b9b716520658ac175913bcbbdb354336",
        "lib/summary.py": "602a9fedfa503e5544d27ab3b0067f235047efc3",
    }
)

POWER_V4 = PowerRules("1.10.0", _SOURCES)
POWER_V5_0 = PowerRules("1.11.1", _SOURCES_V5)
POWER_V5_1 = PowerRules("1.11.1", _SOURCES_V5, analyzers_listed=True, amps_restored_by=(3, 4))
