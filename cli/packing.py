"""`mlperf-submission pack`: published runs or trees become the archive that is handed in."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from cli.judge import require_tree
from flows.retrieve import RetrieveRequest
from mlperf_submission.errors import SettingError, TreeError
from mlperf_submission.store.store import Area, Store
from mlperf_submission.tree.merge import merge_trees
from mlperf_submission.tree.pack import Receipt, pack_tree
from tasks.upload import store_for
from tasks.workspace import Workspace

_TREE = "tree"


def pack(
    console: Console,
    sources: Sequence[str],
    out: Path,
    round_name: str | None,
    system: str | None,
    work: Path,
) -> Receipt:
    """Pack trees or published runs into one archive; the receipt goes into each run's store too.

    Args:
        console: where to show the receipt.
        sources: roots of trees, or names of published runs; several are merged.
        out: the folder that receives archive and receipt.
        round_name: the round; None: it is read from the logs.
        system: the system file that names the store of the runs; None: each run's own.
        work: the work folder.

    Raises:
        SettingError: a source is neither a tree nor a run.
        TreeError: a run is a rehearsal or was not published, or the tree cannot be handed in.
        StoreError: there is no such run, or files of it are missing.
    """
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # The folder of the archive has room for what is unpacked for a while.
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".pack-", dir=out)))
        trees: list[Path] = []
        runs: list[tuple[Store, str]] = []
        for number, source in enumerate(sources):
            if Path(source).is_dir():
                require_tree(Path(source))
                trees.append(Path(source))
                continue
            store, run = _published(stack, source, place / str(number), system, work)
            trees.append(place / str(number) / _TREE)
            runs.append((store, run))
        whole = trees[0]
        if len(trees) > 1:
            whole = place / "merged"
            merge_trees(trees, whole)
        receipt = pack_tree(whole, out, round_name=round_name, runs=[run for _, run in runs])
        for store, _ in runs:
            store.keep_receipt(f"{receipt.submitter}/{receipt.round}/{receipt.sha256}", receipt.to_json())
    for name, value in (
        ("Archive", str(out / receipt.archive)),
        ("SHA-256", receipt.sha256),
        ("Size", f"{receipt.size:,} bytes; {receipt.files:,} files of {receipt.content:,} bytes"),
        ("Holds", f"{receipt.results} results of {', '.join(receipt.systems)}, round {receipt.round}"),
        ("Receipt", f"{out / receipt.archive}.json"),
    ):
        console.print(f"{name:<9} {value}", soft_wrap=True, markup=False, highlight=False)
    return receipt


def _published(stack: ExitStack, name: str, to: Path, system: str | None, work: Path) -> tuple[Store, str]:
    """Fetch the tree of a published run, every file verified; return the store and the run's address."""
    try:
        request = RetrieveRequest.checked(name, to, only=[_TREE], system=system)
    except SettingError as error:
        raise SettingError(
            f"{name!r} is neither a folder nor a run: {error.what}", remedy=error.remedy
        ) from error
    store = stack.enter_context(store_for(Workspace.at(work), request.system))
    found = store.find(request.run)
    if found.manifest.rehearsal or found.address.area is Area.REHEARSALS:
        raise TreeError(
            "a rehearsal is never handed in",
            where=name,
            remedy="pack a run of the full edition",
            code="not-handed-in",
        )
    if found.address.area is not Area.RUNS:
        raise TreeError(
            "nobody has approved this run yet, so it cannot be handed in",
            where=str(found.address),
            remedy=f"mlperf-submission publish {found.address.system}/{found.address.run}",
            code="not-handed-in",
        )
    store.fetch_run(str(found.address), to, only=[_TREE])
    return store, f"{store.address}{found.address}"
