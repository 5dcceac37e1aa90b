"""Keep the run in S3: every file under its content's hash, the manifest last."""

from __future__ import annotations
