"""Readers of what others write: from any bytes comes a result, or one of our errors; never anything else.

`make test` tries a few inputs of each, `make fuzz` as many as its time allows.
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from hypothesis import strategies as st

from mlperf_submission.config.system import SYSTEMS_FOLDER, load_system
from mlperf_submission.description.describe import describe_machine
from mlperf_submission.description.probe import Probe, ToolOutput
from mlperf_submission.errors import PipelineError
from mlperf_submission.fetch.archives import unpack_archive
from mlperf_submission.harness.lock import holders
from mlperf_submission.page.read import SystemPlace, read_system
from mlperf_submission.rounds import V4_1, RunKind, Scenario
from mlperf_submission.steps.records import read_record, record_file, step_key
from mlperf_submission.store.manifest import read_manifest
from mlperf_submission.strict_yaml import read_yaml
from mlperf_submission.submission.accuracy import hash_in
from mlperf_submission.submission.accuracy_log import read_accuracy
from mlperf_submission.submission.accuracy_text import all_metrics, read_lines
from mlperf_submission.submission.conf import as_integer, parse_conf
from mlperf_submission.submission.detail_log import read_detail
from mlperf_submission.submission.files import Tree
from mlperf_submission.submission.times import run_span
from mlperf_submission.validation import reader as tree_reader
from mlperf_submission.validation.power.read import read_power
from mlperf_submission.validation.read_run import read_run
from models.gptj.checkpoint import Checkpoint
from tests.mlperf_submission.validation.sample_power import PERFORMANCE, POWER, add_power
from tests.mlperf_submission.validation.sample_submission import ACCURACY as SCORES
from tests.mlperf_submission.validation.sample_submission import BOX, Submission, build

MESSAGE = (
    b':::MLLOG {"key": "%s", "value": %s, "time_ms": 0.02, "namespace": "mlperf::logging", "event_type": '
    b'"POINT_IN_TIME", "metadata": {"is_error": false, "is_warning": false, "file": "loadgen.cc", '
    b'"line_no": 1, "pid": 7, "tid": 7}}\n'
)
DETAIL = b"".join(
    MESSAGE % pair
    for pair in (
        (b"loadgen_version", b'"5.0 @ 0123"'),
        (b"effective_target_qps", b"400"),
        (b"loaded_qsl_set", b"[0,1,2,3]"),
        (b"power_begin", b'"11-26-2026 22:45:52.751"'),
        (b"power_end", b'"11-26-2026 22:46:52.751"'),
        (b"result_validity", b'"VALID"'),
    )
)
ACCURACY = (
    b'[\n{ "seq_id" : 0, "qsl_idx" : 5, "data" : "00000000" },\n'
    b'{"seq_id": 1, "qsl_idx": 6, "data": "3F", "token_count": 2}\n]\n'
)
CONF = b"# a comment\nresnet50.Offline.target_qps = 135000.0\n*.Server.min_duration = 0x10\n*.*.mode = 2\n"
NUMBERS = (b"9" * 5000, b"-0", b"1e999", b"NaN", b"Infinity", b"0x", b"\xd9\xa3")
PROBE_KEY = step_key("probe", {"batch_size": 4})
RECORD = json.dumps(
    {
        "version": 1,
        "step": "probe",
        "label": "resnet50 Offline",
        "key": PROBE_KEY,
        "inputs": {"batch_size": 4},
        "folder": f"probe/{PROBE_KEY}",
        "files": [{"path": "log", "size": 5, "sha256": "0" * 64}],
        "figures": {"rate": 1.5},
        "created": "2026-01-01T00:00:00Z",
        "seconds": 2.5,
        "reason": "first time",
    }
).encode()
MANIFEST = json.dumps(
    {
        "system": "box",
        "run": "0123456789ab",
        "round": "v4.1",
        "created": "2026-01-01T00:00:00Z",
        "rehearsal": False,
        "tool_version": "0.1",
        "figures": {"resnet50/Server": 132008.0},
        "version": 1,
        "files": [
            {"path": f"{part}/file", "size": 5, "sha256": "0" * 64} for part in ("tree", "page", "verdict")
        ],
    }
).encode()
_NET, _MEMORY = "sys/class/net/eth0", "sys/devices/system/edac/mc/mc0/dimm0"
MACHINE_FILES = (
    "proc/cpuinfo",
    "proc/meminfo",
    "etc/os-release",
    "sys/devices/system/cpu/cpu0/cache/index0/size",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq",
    *(f"{_MEMORY}/{name}" for name in ("size", "dimm_mem_type")),
    *(f"{_NET}/{name}" for name in ("flags", "speed", "carrier", "device/vendor")),
)
PIECES = (
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\n",
    b"\r",
    b"\0",
    b"\x1b[2J",
    b"\xff",
    b"\xed\xa0\xbd",
    b"null",
)
YAML_PIECES = (
    b"- ",
    b": ",
    b"&a ",
    b"*a",
    b"!!float ",
    b"? ",
    b"|\n",
    b"'",
    b"\t",
    b"<<: ",
    b"~",
    b"yes",
    b"#",
    b"---\n",
)


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        name: what it reads.
        read: reads a content; it may use the folder, which is empty.
        samples: sound contents, which are damaged.
    """

    name: str
    read: Callable[[bytes, Path], object]
    samples: tuple[bytes, ...]

    def inputs(self) -> st.SearchStrategy[bytes]:
        """Return what is tried: anything, and sound contents in which a few places were changed."""
        return st.binary(max_size=300) | damaged(self.samples)

    def holds(self, content: bytes, folder: Path) -> None:
        """Read a content; whatever is raised but an error of ours is a fault."""
        try:
            self.read(content, folder)
        except PipelineError as error:
            str(error).encode()


@st.composite
def damaged(draw: st.DrawFn, samples: tuple[bytes, ...]) -> bytes:
    """Return a sound content in which one to four places were cut out, doubled or written over."""
    content = draw(st.sampled_from(samples))
    piece = st.sampled_from(PIECES + NUMBERS + YAML_PIECES) | st.binary(max_size=4)
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(content)))
        end = min(len(content), begin + draw(st.integers(0, 40)))
        middle = draw(piece | st.just(content[begin:end] * 2))
        content = content[:begin] + middle + content[end:]
    return content


def _file(content: bytes, folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def _detail(content: bytes, folder: Path) -> None:
    log = read_detail(_file(content, folder, "mlperf_log_detail.txt"))
    run_span(log)


def _conf(content: bytes, _folder: Path) -> None:
    for value in parse_conf(content.decode(errors="replace")).entries.values():
        as_integer(value)


def _accuracy_text(content: bytes, _folder: Path) -> None:
    text = content.decode(errors="replace")
    hash_in(text)
    for newer in (False, True):
        list(read_lines(text, all_metrics(newer), newer))


class _Whole:
    """A sound tree with a power measurement; it goes when the process ends."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.submission = build(Path(self._folder.name) / "tree", "box")
        add_power(self.submission)

    @contextmanager
    def with_file(self, path: str, content: bytes) -> Iterator[Submission]:
        """Give one file another content for a while."""
        before = (self.submission.root / path).read_bytes()
        try:
            yield self.submission.write(path, content)
        finally:
            self.submission.write(path, before)

    def content(self, path: str) -> bytes:
        return (self.submission.root / path).read_bytes()


_whole = cache(_Whole)


def _power(path: str, content: bytes, _folder: Path) -> None:
    located = tree_reader.Located("closed", "Acme", "box", "resnet50", "Offline")
    place = tree_reader.Place(located, V4_1.models["resnet"], Scenario.SINGLE_STREAM, False, False)
    with _whole().with_file(path, content) as made:
        reader = tree_reader.Reader(V4_1, Tree(made.root))
        run = read_run(reader, place, RunKind.PERFORMANCE, f"{PERFORMANCE}/run_1")
        read_power(reader, place, run)


def _page(path: str, content: bytes, _folder: Path) -> None:
    with _whole().with_file(path, content) as made:
        read_system(made.root, SystemPlace("closed", "Acme", "box"), "v4.1")


def _machine(content: bytes, folder: Path) -> None:
    text = content.decode(errors="replace")
    for name in MACHINE_FILES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    described = describe_machine(probe=Probe(folder, lambda _: ToolOutput(text)), gpus="none")
    read_yaml(described.as_yaml().encode(), "description")
    described.as_table()


def _record(content: bytes, folder: Path) -> None:
    path = record_file(folder, "probe", PROBE_KEY)
    path.parent.mkdir()
    path.write_bytes(content)
    read_record(folder, path)


def _checkpoint(name: str, content: bytes, folder: Path) -> None:
    _file(content, folder, name)
    checkpoint = Checkpoint(folder)
    for tensor in checkpoint.tensors:
        checkpoint(tensor)


def _safetensors() -> bytes:
    places = {"a": ("F32", [2, 2], 0, 16), "b": ("BF16", [3], 16, 22), "c": ("F8_E4M3", [2], 22, 24)}
    header = {
        name: {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
        for name, (kind, shape, begin, end) in places.items()
    }
    text = json.dumps(header | {"__metadata__": {"format": "pt"}}).encode()
    return len(text).to_bytes(8, "little") + text + bytes(24)


def _pickled() -> bytes:
    """Return what `torch.save` writes of two numbers, its pickle in text."""
    storage = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI2\nt"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"QI0\n(I2\nt(I1\ntI00\n(dtR"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", b"(dp0\nVa\np1\n" + tensor + b"s.")
        archive.writestr("archive/data/0", bytes(8))
    return packed.getvalue()


def _archives() -> tuple[bytes, ...]:
    found = []
    for mode in ("w", "w:gz", "w:bz2", "w:xz"):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode=mode) as tar:
            for name in ("one", "folder/two"):
                member = tarfile.TarInfo(name)
                member.size = 5
                tar.addfile(member, io.BytesIO(b"bytes"))
        found.append(packed.getvalue())
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", method) as archive:
            archive.writestr("one", b"bytes" * 9)
            archive.writestr("folder/two", b"bytes")
        found.append(packed.getvalue())
    return tuple(found)


READERS = (
    Reader(
        "system file",
        lambda content, folder: load_system(str(_file(content, folder, "system.yaml"))),
        tuple(path.read_bytes() for path in sorted(SYSTEMS_FOLDER.glob("*.yaml"))),
    ),
    Reader(
        "yaml",
        lambda content, _: read_yaml(content, "here"),
        (b"a: &x {b: [1, 2.5, ~]}\nc: *x\n'd': \"e\"\n",),
    ),
    Reader("detail log", _detail, (DETAIL,)),
    Reader(
        "accuracy log",
        lambda content, folder: list(read_accuracy(_file(content, folder, "mlperf_log_accuracy.json"))),
        (ACCURACY, b"[]\n"),
    ),
    Reader(
        "accuracy text",
        _accuracy_text,
        tuple("\n".join([*score, f"hash={'0' * 64}"]).encode() for score in SCORES.values()),
    ),
    *(
        Reader(f"power: {Path(path).name}", partial(_power, path), (_whole().content(path),))
        for path in (
            f"{POWER}/server.json",
            f"{POWER}/ptd_logs.txt",
            f"{PERFORMANCE}/run_1/spl.txt",
            f"{PERFORMANCE}/run_1/mlperf_log_detail.txt",
        )
    ),
    *(
        Reader(f"page: {Path(path).name}", partial(_page, path), (_whole().content(path),))
        for path in (
            f"{PERFORMANCE}/run_1/mlperf_log_detail.txt",
            f"{BOX}/accuracy/accuracy.txt",
            "closed/Acme/systems/box.json",
            f"{BOX.replace('results', 'measurements')}/user.conf",
        )
    ),
    Reader("conf and audit config", _conf, (CONF,)),
    Reader(
        "lock file",
        lambda content, folder: holders(_file(content, folder, "lock")),
        (b"4711 the long run\n",),
    ),
    Reader(
        "tools of the host",
        _machine,
        (
            b'{"lscpu": [{"field": "Socket(s):", "data": "2", "children": [{"field": "X", "data": "Y"}]}]}',
            b'{"blockdevices": [{"name": "sda", "size": 480103981056, "rota": false, "type": "disk"}]}',
            b"processor : 0\nphysical id : 0\ncpu cores : 8\ncpu MHz : 2100.5\nMemTotal:  65536 kB\n",
            b"0x1003\n",
            b"16384\n",
            b"Memory Device\n\tSize: 32 GB\n\tType: DDR5\n\nPower Supply\n\tMax Power Capacity: 1800 W\n",
        ),
    ),
    Reader("safetensors", partial(_checkpoint, "model.safetensors"), (_safetensors(),)),
    Reader("PyTorch's tensors", partial(_checkpoint, "pytorch_model.bin"), (_pickled(),)),
    Reader("manifest", lambda content, _: read_manifest(content, "here"), (MANIFEST,)),
    Reader("record of a step", _record, (RECORD,)),
    Reader(
        "archive",
        lambda content, folder: unpack_archive(_file(content, folder, "archive"), folder / "unpacked"),
        _archives(),
    ),
)
