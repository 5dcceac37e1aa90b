"""Prefect's clients, as a run needs them that waits for a server that is away."""

from __future__ import annotations

from prefect.client import base


class _Reached:
    """Whether a client has reached its server: as soon as one of this process has, all of them have.

    Prefect's clients ask a server again that refuses connections, but only the ones that it has answered
    before (`PrefectHttpxAsyncClient.send`), so that a wrong address is told at once. Each subflow has a
    client of its own: one that began while the server was away would end the run.
    """

    def __init__(self) -> None:
        self.by_any = False

    def __get__(self, client: object, _of: type) -> bool:
        return self.by_any

    def __set__(self, client: object, reached: bool) -> None:
        self.by_any = self.by_any or reached


def wait_for_a_server_that_was_there() -> None:
    """Let every client of this process ask a server again that one of them has reached before."""
    reached = _Reached()
    for client in (base.PrefectHttpxAsyncClient, base.PrefectHttpxSyncClient):
        setattr(client, "_has_connected", reached)  # noqa: B010 - an attribute of its instances
