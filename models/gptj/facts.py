"""The facts of gptj-99.

From MLPerf Inference v4.1, language/gpt-j (README.md, dataset.py, backend_PyTorch.py, evaluation.py).
"""

from __future__ import annotations

from mlperf_submission.benchmark.facts import Edition, Facts, Libraries, LicensedFolder, Sizes, Source

ARTICLES_FILE = "cnn_eval.json"
CALIBRATION_FILE = "cnn_dailymail_calibration.json"
VOCABULARY_FILE, MERGES_FILE = "vocab.json", "merges.txt"
FULL_PROMPT = 1919
"""Tokens that a prompt is cut to (language/gpt-j/dataset.py)."""
NEW_TOKENS = 128
"""Tokens that a summary has at most."""
LAYERS = 28
_ARTICLES = LicensedFolder(
    key="cnn_dailymail",
    title="the validation split of CNN/DailyMail 3.0.0 (13,368 articles): run language/gpt-j/"
    "download_cnndm.py of https://github.com/mlcommons/inference at v4.1, which writes data/cnn_eval.json",
)
_CHECKPOINT = Source(
    name="checkpoint.zip",
    urls=("https://cloud.mlcommons.org/index.php/s/QAZ2oM94MkFtbQx/download",),
    digest="md5:e677e28aaf03da84584bb3073b7ee315",
    size=None,
    unpack="checkpoint",
    licence="GPT-J 6B, fine-tuned by MLCommons (Apache 2.0)",
)
_GPT2 = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main"
_TOKENIZER = (
    Source(
        name=VOCABULARY_FILE,
        urls=(
            f"{_GPT2}/encoder.json",
            "https://huggingface.co/openai-community/gpt2/resolve/main/vocab.json",
        ),
        digest="sha256:196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
        size=1_042_301,
    ),
    Source(
        name=MERGES_FILE,
        urls=(f"{_GPT2}/vocab.bpe", "https://huggingface.co/openai-community/gpt2/resolve/main/merges.txt"),
        digest="sha256:1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
        size=456_318,
    ),
)
"""GPT-J's tokenizer is GPT-2's."""
FACTS = Facts(
    name="gptj-99",
    full=Edition(
        "full",
        _CHECKPOINT,
        _TOKENIZER,
        13_368,
        _ARTICLES,
        notes="the archive's MD5 is listed by MLCommons' automation, but marked as unused",
    ),
    sizes=Sizes(
        network=22_700_000_000,
        network_source="the published checkpoint",
        converted=12_100_000_000,
        sample_values=FULL_PROMPT,
        sample_source="the longest prompt",
        response=NEW_TOKENS * 4,
        mini_sample_values=None,
        converting=17_000_000_000,
        converting_source="of its engine: 5.2 GB with 2 layers and 6.1 GB with 4 measured",
        state=LAYERS * 2 * 4096 * (FULL_PROMPT + 4 * NEW_TOKENS) * 2,  # keys and values, FP16, of each slot
        free=FULL_PROMPT,
    ),
    libraries=Libraries(preprocess=("tokenizers",), score=("nltk", "rouge-score", "tokenizers")),
    layers=LAYERS,
)
