"""A second S3 server for the tests: Ceph's gateway on a whole small Ceph, in memory, where it is installed.

Debian: `apt-get install --no-install-recommends radosgw ceph-mon ceph-osd`.
"""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlperf_submission.process import companion
from mlperf_submission.store.embedded import Endpoint
from tests.waiting import PATIENCE, until

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
KMS_KEY = "test-key"
"""A key that the gateway knows by this name."""
_SETTINGS = """
[global]
fsid = {cluster}
mon host = [v2:127.0.0.1:{monitor_port}/0]
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
run dir = {folder}/run
admin socket = {folder}/run/$name.$pid.asok
pid file =
log file =
log to stderr = true
mon data = {folder}/mon
mon data avail crit = 1
mon allow pool size one = true
mon max pg per osd = 1000
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = {kms_key}=YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=
"""


def ceph_is_installed() -> bool:
    """Whether everything that a small Ceph needs is on the path."""
    return all(map(shutil.which, PROGRAMS))


@contextmanager
def ceph_s3(folder: Path) -> Iterator[Endpoint]:
    """Run one monitor, one object daemon in memory and the S3 gateway for the length of the block."""
    monitor_port, port = _free_ports(2)
    cluster, disk = str(uuid.uuid4()), str(uuid.uuid4())
    for name in ("mon", "osd", "rgw", "run"):
        (folder / name).mkdir(parents=True)
    conf, log = folder / "ceph.conf", folder / "ceph.log"
    text = _SETTINGS.format(
        cluster=cluster, folder=folder, monitor_port=monitor_port, port=port, kms_key=KMS_KEY
    )
    conf.write_text(text)
    settings = ["-c", str(conf)]
    monitors = str(folder / "monmap")

    def call(*command: str) -> None:
        with log.open("ab") as sink:
            subprocess.run(command, stdout=sink, stderr=sink, timeout=PATIENCE, check=True)

    address = f"[v2:127.0.0.1:{monitor_port}]"
    call("monmaptool", "--create", "--clobber", "--fsid", cluster, "--addv", "a", address, monitors)
    call("ceph-mon", *settings, "--mkfs", "-i", "a", "--monmap", monitors, "--keyring", "/dev/null")
    key = Endpoint(f"http://127.0.0.1:{port}", "AKIACEPH", "ceph-secret-of-some-length")
    with companion(["ceph-mon", *settings, "-i", "a", "-f"], log=log):
        call("ceph", *settings, "osd", "new", disk)
        call("ceph-osd", *settings, "-i", "0", "--mkfs", "--osd-uuid", disk)
        with companion(["ceph-osd", *settings, "-i", "0", "-f"], log=log):
            keys = ["--access-key", key.access_key, "--secret-key", key.secret_key]
            call("radosgw-admin", *settings, "user", "create", "--uid=test", "--display-name=test", *keys)
            with companion(["radosgw", *settings, "-n", "client.rgw", "-f"], log=log):
                until(lambda: _answers(key.url), f"Ceph ({log})")
                yield key


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own server
            return True
    except (urllib.error.URLError, OSError):
        return False


def _free_ports(count: int) -> list[int]:
    """Ports of the loopback address that are free now, below those that the kernel gives to clients.

    They are drawn at random: another process of the same tests may look for its own at the same time.
    """
    found: list[int] = []
    for port in random.sample(range(17300, 19000), 1700):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
        if len(found) == count:
            break
    return found
