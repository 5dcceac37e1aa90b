"""Versions of the libraries whose behaviour is part of a step's outcome."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def versions_of(*distributions: str) -> dict[str, str]:
    """Return `version_<distribution>` for each installed distribution, `absent` for the others."""
    return {f"version_{name.replace('-', '_')}": _version(name) for name in distributions}


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "absent"
