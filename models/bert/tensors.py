"""The inputs and outputs of bert-99's network."""

from __future__ import annotations

from mlperf_submission.benchmark.parts import TensorSpec
from models.bert.facts import MAX_SEQUENCE

IDS, MASK, SEGMENTS = "input_ids", "input_mask", "segment_ids"
START, END = "output_start_logits", "output_end_logits"
INPUTS = tuple(
    TensorSpec(one, "int64", (None, MAX_SEQUENCE), variable_axes=(1,)) for one in (IDS, MASK, SEGMENTS)
)
OUTPUTS = tuple(TensorSpec(one, "float32", (None, MAX_SEQUENCE), variable_axes=(1,)) for one in (START, END))
