"""Addresses of servers: what of them may be shown, and which of them are this machine."""

from __future__ import annotations

import ipaddress
import re

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^\s\"'<>]+", re.IGNORECASE)
PROXY = "check the proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names (NO_PROXY has the exceptions)"
_PORT = re.compile(r"[^:]*(:\d*)?|\[.*")


def shown(address: str) -> str:
    """Return an address without user, password, query and fragment, which may hold secrets.

    It need not be a proper one: what is not understood is rather left out than shown.
    """
    plain = re.split(r"[?#]", address, maxsplit=1)[0]
    scheme, mark, rest = plain.rpartition("://") if plain.count("://") == 1 else ("", "", plain)
    host, slash, path = rest.partition("/")
    host = host.rpartition("@")[2]
    # A password with a slash in it ends the host too early: what stands there is no host and port.
    if "@" in path and (not mark or not _PORT.fullmatch(host)):
        host, slash, path = path.rpartition("@")[2], "", ""
    elif mark and not _PORT.fullmatch(host):
        host = "..."
    return f"{scheme}{mark}{host}{slash}{path}"


def scrubbed(text: str) -> str:
    """Return a text of another library with each address in it as `shown` shows it."""
    return _ADDRESS.sub(lambda match: shown(match[0]), text)


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine, so that no proxy must be asked for it."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
