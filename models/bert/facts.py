"""The facts of bert-99.

From MLPerf Inference v4.1, language/bert (README.md, Makefile, squad_QSL.py, accuracy-squad.py).
"""

from __future__ import annotations

from mlperf_submission.benchmark.facts import Edition, Facts, Libraries, Sizes, Source

NETWORK_FILE, QUESTIONS_FILE, VOCABULARY_FILE = "bert.onnx", "dev-v1.1.json", "vocab.txt"
MINI_CALIBRATION_FILE = "calibration-v1.1.json"
MAX_SEQUENCE = 384
"""Pieces of a whole sequence (max_seq_length)."""
LOGITS_PER_PIECE = 2
_NETWORK = Source(
    name=NETWORK_FILE,
    urls=("https://zenodo.org/record/3733910/files/model.onnx", "https://armi.in/files/model.onnx"),
    digest="md5:819b25b19cd8e59080c10892689750ca",
    size=None,
)
_INT8_NETWORK = Source(
    name="bert_large_v1_1_fake_quant.onnx",
    urls=(
        "https://zenodo.org/record/3750364/files/bert_large_v1_1_fake_quant.onnx",
        "https://armi.in/files/bert_large_v1_1_fake_quant.onnx",
        "https://mlperf-public.s3.us-west-2.amazonaws.com/bert_large_v1_1_fake_quant.onnx",
    ),
    digest="md5:45f88ffb2915362242703c85c38ec2d4",
    size=None,
)
_QUESTIONS = Source(
    name=QUESTIONS_FILE,
    urls=("https://github.com/rajpurkar/SQuAD-explorer/raw/master/dataset/dev-v1.1.json",),
    digest="md5:3e85deb501d4e538b6bc56f786231552",
    size=None,
    licence="CC BY-SA 4.0",
)
_VOCABULARY = Source(
    name=VOCABULARY_FILE,
    urls=("https://zenodo.org/record/3733868/files/vocab.txt",),
    digest="md5:64800d5d8528ce344256daf115d4965e",
    size=None,
)
FACTS = Facts(
    name="bert-99",
    full=Edition("full", _NETWORK, (_QUESTIONS, _VOCABULARY), 10_833, quantized_network=_INT8_NETWORK),
    sizes=Sizes(
        network=2_700_000_000,
        network_source="about: two networks, FP32 and INT8",
        converted=1_350_000_000,
        sample_values=3 * MAX_SEQUENCE,
        sample_source="the network's input",
        response=LOGITS_PER_PIECE * MAX_SEQUENCE * 4,
        mini_sample_values=3 * MAX_SEQUENCE,
        converting=5_600_000_000,
        converting_source="measured with random weights: INT8, all 24 layers",
    ),
    libraries=Libraries(make_mini=("tokenizers",), preprocess=("tokenizers",), score=("tokenizers",)),
)
