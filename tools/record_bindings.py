"""Record which names TensorRT's Python bindings have, from their wheels alone: no GPU, no NVIDIA library.

    pip download --no-deps --no-build-isolation tensorrt-cu12-bindings==10.16.1.11
    pip download --no-deps --no-build-isolation tensorrt-cu13-bindings==11.4.0.106
    python -m tools.record_bindings *.whl > tests/mlperf_submission/harness/tensorrt_names.json

The bindings are linked to a dozen functions of NVIDIA's libraries, none of which an import calls. Empty
libraries with these functions stand in for them; `cc` makes them. Only the classes that our code names count.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
FUNCTIONS = (
    *(f"createInfer{what}_INTERNAL" for what in ("Builder", "Refitter", "Runtime")),
    *("createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL", "getNvOnnxParserVersion"),
    *("getBuilderPluginRegistry", "getPluginRegistry", "initLibNvInferPlugins"),
)
KINDS = (
    *("Builder", "ExecutionContextAllocationStrategy", "IBuilderConfig", "ICudaEngine", "IExecutionContext"),
    *("ILayer", "ILogger", "INetworkDefinition", "IOptimizationProfile", "IRuntimeConfig", "ITensor"),
    *(
        "ITimingCache",
        "NetworkDefinitionCreationFlag",
        "OnnxParser",
        "ParserError",
        "Runtime",
        "TensorIOMode",
    ),
)
_PRINT = f"""
import json, tensorrt_bindings as trt
public = lambda of: " ".join(name for name in dir(of) if not name.startswith("_"))
kinds = {{kind: public(getattr(trt, kind)) for kind in {KINDS}}}
kinds["ILogger.Severity"] = public(trt.ILogger.Severity)
print(json.dumps({{"version": trt.__version__, "module": public(trt), **kinds}}))
"""


def main(wheels: list[str]) -> None:
    """Print the names of each wheel as JSON, by version."""
    found = {}
    for wheel in wheels:
        names = names_of(Path(wheel))
        found[names.pop("version")] = names
    json.dump(found, sys.stdout, indent=1, sort_keys=True)


def names_of(wheel: Path) -> dict[str, str]:
    """Return the version, and the names of the module and of its classes, each in one string."""
    major = wheel.name.split("-")[1].partition(".")[0]
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(wheel).extractall(folder)
        source = "".join(f"void {function}(void) {{}}\n" for function in FUNCTIONS)
        for library in LIBRARIES:
            name = f"lib{library}.so.{major}"
            command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-xc", "-", "-o", f"{folder}/{name}"]
            subprocess.run(command, input=source.encode(), check=True)
        environment = {**os.environ, "LD_LIBRARY_PATH": folder, "PYTHONPATH": folder}
        printed = subprocess.run(
            [sys.executable, "-c", _PRINT], env=environment, check=True, stdout=subprocess.PIPE
        )
    return dict(json.loads(printed.stdout))


if __name__ == "__main__":
    main(sys.argv[1:])
