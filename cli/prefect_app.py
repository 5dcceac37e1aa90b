"""Prefect's server, as uvicorn loads it for `cli.server`: imported while the garbage collector rests.

What is imported stays, and to look through it again and again takes a fifth of the server's start.
"""

import gc

gc.disable()

from prefect.server.api.server import create_app  # noqa: E402 - the collector has to rest first

gc.freeze()
gc.enable()

__all__ = ["create_app"]
