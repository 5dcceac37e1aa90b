"""A network is taken only if it is whole, harmless, and has the benchmark's inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

from mlperf_submission.benchmark.parts import TensorSpec
from mlperf_submission.errors import NetworkFileError
from models.network.checks import check_network, read_network
from models.resnet50.architecture import resnet50

INPUTS = (TensorSpec("input_tensor:0", "float32", (None, 3, 32, 32)),)
OUTPUTS = (TensorSpec("ArgMax:0", "int64", (None,)),)


def small() -> ModelProto:
    return resnet50(stages=((1, 4),), stem=4, classes=5, image=32)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "network.onnx"
    onnx.save(small(), path)
    return path


def refusal(
    path: Path, inputs: tuple[TensorSpec, ...] = INPUTS, outputs: tuple[TensorSpec, ...] = OUTPUTS
) -> str:
    with pytest.raises(NetworkFileError) as caught:
        check_network(path, inputs, outputs)
    assert caught.value.remedy
    assert str(path) in str(caught.value)
    return caught.value.what


def test_a_network_with_further_outputs_is_taken(network: Path) -> None:
    model = check_network(network, INPUTS, OUTPUTS)
    assert [value.name for value in model.graph.output] == ["ArgMax:0", "softmax_tensor:0"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        (b"\n\n <html>please log in</html>", "a web page"),
        (b"PK\x03\x04" + bytes(100), "a ZIP archive"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"\x01\x02\x03\x04", "no ONNX network"),
        (numpy_helper.from_array(np.arange(3)).SerializeToString(), "no ONNX network"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(content)
    assert says in refusal(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / "none.onnx")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.999])
def test_a_truncated_network_is_refused(network: Path, share: float) -> None:
    content = network.read_bytes()
    network.write_bytes(content[: int(len(content) * share)])
    refusal(network)


def test_a_network_that_the_checker_refuses_is_named(network: Path) -> None:
    model = small()
    model.graph.node[3].input[0] = "nobody"
    onnx.save(model, network)
    assert "nobody" in refusal(network)


@pytest.mark.parametrize(
    ("inputs", "outputs", "says"),
    [
        ((TensorSpec("image", "float32", (None, 3, 32, 32)),), OUTPUTS, "input image is missing"),
        ((TensorSpec("input_tensor:0", "int8", (None, 3, 32, 32)),), OUTPUTS, "is float32, not int8"),
        ((TensorSpec("input_tensor:0", "float32", (None, 3, 64, 32)),), OUTPUTS, "dimension 2 of input"),
        ((TensorSpec("input_tensor:0", "float32", (None, 3)),), OUTPUTS, "4 dimensions, not 2"),
        ((), OUTPUTS, "not fed by the benchmark"),
        (INPUTS, (TensorSpec("boxes", "float32", (None, 4)),), "output boxes is missing"),
        (INPUTS, (TensorSpec("ArgMax:0", "int32", (None,)),), "is int64, not int32"),
    ],
)
def test_other_inputs_and_outputs_are_listed(
    network: Path, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], says: str
) -> None:
    text = refusal(network, inputs, outputs)
    assert says in text
    assert "Found: inputs input_tensor:0 float32 Nx3x32x32; outputs ArgMax:0 int64 N" in text
    assert "Expected: inputs" in text


def test_a_fixed_batch_dimension_is_named(network: Path) -> None:
    model = small()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, network)
    assert "the batch dimension of input input_tensor:0 is fixed to 1, a free one is needed" in refusal(
        network
    )


def test_weights_that_are_listed_as_inputs_are_no_inputs(network: Path) -> None:
    """ONNX files before IR version 4 list every initialiser as an input too."""
    model = small()
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    onnx.save(model, network)
    check_network(network, INPUTS, OUTPUTS)


def _with_external_data(folder: Path) -> Path:
    path = folder / "network.onnx"
    onnx.save(small(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def test_external_data_beside_the_network_is_loaded(tmp_path: Path) -> None:
    model = read_network(_with_external_data(tmp_path))
    want = {tensor.name: numpy_helper.to_array(tensor) for tensor in small().graph.initializer}
    for tensor in model.graph.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), want[tensor.name])


def _to(location: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            next(entry for entry in tensor.external_data if entry.key == "location").value = location
        path.write_bytes(model.SerializeToString())

    return change


def _link_outside(path: Path) -> None:
    data = path.parent / "weights.bin"
    moved = path.parent.parent / "elsewhere.bin"
    data.rename(moved)
    data.symlink_to(moved)


@pytest.mark.parametrize("change", [_to("../secret"), _to("/etc/passwd"), _to(""), _link_outside])
def test_external_data_cannot_leave_the_folder(tmp_path: Path, change: Callable[[Path], None]) -> None:
    (tmp_path / "secret").write_bytes(bytes(1 << 20))
    folder = tmp_path / "networks"
    folder.mkdir()
    path = _with_external_data(folder)
    change(path)
    assert "outside of the network's folder" in refusal(path)


def test_short_and_missing_external_data_is_named(tmp_path: Path) -> None:
    path = _with_external_data(tmp_path)
    data = tmp_path / "weights.bin"
    data.write_bytes(data.read_bytes()[:-8])
    assert "has only" in refusal(path)
    data.unlink()
    assert "cannot be read from 'weights.bin'" in refusal(path)
    data.symlink_to("weights.bin")
    assert "symbolic links" in refusal(path)
