"""The results page: what was measured, on what, how, and whether to believe it.

`write_page` makes the page of one system out of its submission tree; `write_fleet` makes the page of all
systems of a tree with a page for each; `render_trend` makes that of one system over time, out of the store's
manifests. Pages are single files that need no network and no JavaScript.
"""

from mlperf_submission.page.compare import Neighbour, neighbours_in
from mlperf_submission.page.evidence import (
    EngineEvidence,
    Fact,
    Link,
    PageEvidence,
    Probe,
    ResultEvidence,
    ThroughputPoint,
    TimelineStep,
)
from mlperf_submission.page.fleet import write_fleet
from mlperf_submission.page.system_page import write_page
from mlperf_submission.page.trend import render_trend, trend_rows

__all__ = [
    "EngineEvidence",
    "Fact",
    "Link",
    "Neighbour",
    "PageEvidence",
    "Probe",
    "ResultEvidence",
    "ThroughputPoint",
    "TimelineStep",
    "neighbours_in",
    "render_trend",
    "trend_rows",
    "write_fleet",
    "write_page",
]
