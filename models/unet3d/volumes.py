"""From a NIfTI file to the volume that 3d-unet's windows are cut from: the official, untimed preprocessing.

Source of the steps: MLPerf Inference v4.1, vision/medical_imaging/3d-unet-kits19/preprocess.py and
global_vars.py. Axes are z, y, x, as the files of KiTS19 store them.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.errors import SourceError

SPACING = (1.6, 1.2, 1.2)
"""Every volume is resampled to it, mm."""
CLIP_LOW, CLIP_HIGH = -79.0, 304.0
MEAN, DEVIATION = 101.0, 76.9
"""Of the grey values, in Hounsfield units."""
PADDING = -2.2
"""Normalised grey value of what is added around a volume."""
WINDOW = 128
"""Side of the network's input, voxels."""
STRIDE = WINDOW // 2
INT8_SCALE = (CLIP_HIGH - MEAN) / DEVIATION / 127
"""Normalised grey value of one step of an INT8 sample: the largest value is 127."""
CLASSES = 3
"""Background 0, kidney 1, tumour 2."""
MOST_VOXELS = 1 << 30
"""The largest volume of KiTS19 has fewer than 2^28; more is a damaged header."""
_Value = TypeVar("_Value", bound=np.generic)
_BLOCK = 1 << 20
_HEADER_BYTES = 348
_DAMAGED = "the file is damaged or was cut off; fetch it anew"


@dataclass(frozen=True)
class Scan:
    """A volume as it is stored.

    Attributes:
        values: float32 Hounsfield units, or uint8 labels; z × y × x.
        spacing: of the voxels, mm (float32 in the file).
    """

    values: NDArray[np.generic]
    spacing: tuple[float, float, float]


def read_image(path: Path) -> Scan:
    """Read `imaging.nii.gz` as float32.

    Raises:
        SourceError: the file is missing, truncated, no NIfTI, or not a volume of three axes with a spacing.
    """
    return _read(path, np.float32)


def read_label(path: Path, image: Path) -> Scan:
    """Read `segmentation.nii.gz` as uint8, with the spacing of its image's header, which is what counts.

    Raises:
        SourceError: as in `read_image`, another shape than the image, or labels other than 0, 1 and 2.
    """
    label = _read(path, np.uint8)
    shape, spacing = read_geometry(image)
    if label.values.shape != shape:
        raise SourceError(
            f"the segmentation has {_shape(label.values.shape)} voxels, its image {_shape(shape)}",
            where=path,
            remedy="take both files of a case from the same copy of KiTS19",
            code="data-set",
        )
    return Scan(label.values, spacing)


def read_geometry(path: Path) -> tuple[tuple[int, ...], tuple[float, float, float]]:
    """Return shape and spacing of a NIfTI file from its header alone.

    Raises:
        SourceError: as in `read_image`.
    """
    with _opened(path) as stream:
        header = _header(stream, path)
        return header.shape, header.spacing


def prepare_image(image: Scan) -> NDArray[np.float32]:
    """Resample, clip, normalise, pad and crop; return float32, every axis a multiple of 64, at least 128."""
    values = image.values.astype(np.float32, copy=False)
    values = np.clip(resampled(values, image.spacing, order=1), CLIP_LOW, CLIP_HIGH)
    normalised: NDArray[np.float32] = (values - np.float32(MEAN)) / np.float32(DEVIATION)
    return fitted(normalised, PADDING)


def prepare_label(label: Scan) -> NDArray[np.uint8]:
    """Bring a segmentation (uint8) into the space of its prepared image: the ground truth of the metric."""
    return fitted(resampled(label.values, label.spacing, order=0), 0).astype(np.uint8, copy=False)


def resampled(
    values: NDArray[np.generic],
    spacing: tuple[float, float, float],
    *,
    order: int,
    target: tuple[float, float, float] = SPACING,
) -> NDArray[np.generic]:
    """Bring a volume to the target spacing: order 1 is trilinear, order 0 takes the nearest voxel."""
    from scipy.ndimage import zoom

    factors = np.array(spacing, np.float64) / np.array(target)
    if np.allclose(factors, 1, rtol=0, atol=1e-6):  # the header's float32 1.2 is not quite 1.2
        return values
    result: NDArray[np.generic] = zoom(
        values, factors, order=order, mode="constant", cval=values.min(), grid_mode=False
    )
    return result


def fitted(values: NDArray[_Value], fill: float) -> NDArray[_Value]:
    """Make every axis a multiple of 64 and at least 128: by its edge up to 128, then by cropping or `fill`.

    Less than 32 voxels too many are cropped, else the axis is padded up to the next multiple; what is odd
    goes to the end.
    """
    missing = [max(0, WINDOW - size) for size in values.shape]
    values = np.pad(values, [(one // 2, one - one // 2) for one in missing], mode="edge")
    over = [size % STRIDE for size in values.shape]
    cut = [one if one < STRIDE // 2 else 0 for one in over]
    values = values[
        tuple(slice(one // 2, size - (one - one // 2)) for one, size in zip(cut, values.shape, strict=True))
    ]
    lacking = [-size % STRIDE for size in values.shape]
    return np.pad(
        values,
        [(one // 2, one - one // 2) for one in lacking],
        mode="constant",
        constant_values=np.array(fill, values.dtype),
    )


def to_int8(values: NDArray[np.float32]) -> NDArray[np.int8]:
    """Round a prepared volume to steps of INT8_SCALE."""
    steps = np.rint(values / np.float32(INT8_SCALE))
    rounded: NDArray[np.int8] = np.clip(steps, -128, 127).astype(np.int8)
    return rounded


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    spacing: tuple[float, float, float]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float


def _read(path: Path, dtype: type[np.generic]) -> Scan:
    """Read a file to its end, so that gzip compares its checksum."""
    with _opened(path) as stream:
        header = _header(stream, path)
        stream.seek(header.offset)
        count = math.prod(header.shape)
        content = _bytes_of(stream, count * header.dtype.itemsize)
        if len(content) < count * header.dtype.itemsize:
            raise EOFError(f"its voxels end after {len(content)} bytes")
        while stream.read(_BLOCK):
            pass
    stored = np.frombuffer(content, header.dtype).reshape(header.shape, order="F")
    if (header.slope, header.intercept) != (1, 0):
        stored = stored.astype(np.float64) * header.slope + header.intercept
    if dtype is np.uint8:
        _check_labels(stored, path)
    return Scan(stored.astype(dtype), header.spacing)


def _bytes_of(stream: gzip.GzipFile, size: int) -> bytes:
    """Return the next bytes; memory is taken for what is there, not for what a header claims."""
    content = bytearray()
    while len(content) < size and (block := stream.read(min(_BLOCK, size - len(content)))):
        content += block
    return bytes(content)


@contextmanager
def _opened(path: Path) -> Iterator[gzip.GzipFile]:
    """Open a `.nii.gz` file; what gzip, zlib and nibabel raise on a damaged one becomes a SourceError."""
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    try:
        with gzip.open(path) as stream:
            yield stream
    except FileNotFoundError as error:
        raise SourceError(
            "the file is missing", where=path, remedy="complete the data set", code="data-set"
        ) from error
    except (
        OSError,
        EOFError,
        ValueError,
        OverflowError,
        zlib.error,
        HeaderDataError,
        WrapStructError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceError(
            f"the NIfTI file cannot be read: {reason}", where=path, remedy=_DAMAGED, code="data-set"
        ) from error


def _header(stream: gzip.GzipFile, path: Path) -> _Header:
    """Read the header as it is: nibabel would mend an impossible spacing without a word."""
    from nibabel.nifti1 import Nifti1Header

    header: Any = cast(Any, Nifti1Header).from_fileobj(stream, check=False)
    if bytes(header["magic"].item()) != b"n+1":
        raise ValueError("it does not begin as a NIfTI file")
    shape = tuple(int(one) for one in header.get_data_shape())
    z, y, x = (float(one) for one in header["pixdim"][1:4])
    slope, intercept = header.get_slope_inter()
    found = _Header(
        shape,
        (z, y, x),
        np.dtype(header.get_data_dtype()),
        int(header["vox_offset"]),
        1.0 if slope is None else float(slope),
        0.0 if intercept is None else float(intercept),
    )
    if len(shape) != 3 or min(shape) < 2 or math.prod(shape) > MOST_VOXELS:
        raise SourceError(
            f"the file holds {_shape(shape)} values, not a volume of three axes",
            where=path,
            remedy="KiTS19 stores a volume as slices × rows × columns; fetch the file anew",
            code="data-set",
        )
    if not all(0.05 < one < 50 for one in (z, y, x)):
        raise SourceError(
            f"the voxels are {z:g}×{y:g}×{x:g} mm large, which cannot be",
            where=path,
            remedy="the header's pixdim is wrong; fetch the file anew",
            code="data-set",
        )
    if min(one * size / target for one, size, target in zip(found.spacing, shape, SPACING, strict=True)) < 2:
        raise SourceError(
            f"a volume of {_shape(shape)} voxels of {z:g}×{y:g}×{x:g} mm is too thin to be resampled",
            where=path,
            remedy="fetch the file anew",
            code="data-set",
        )
    if found.dtype.kind not in "iuf" or found.offset < _HEADER_BYTES:
        raise ValueError(f"it holds values of type {found.dtype} from byte {found.offset} on")
    return found


def _check_labels(stored: NDArray[np.generic], path: Path) -> None:
    found = np.unique(np.asarray(stored))
    if not np.isin(found, range(CLASSES)).all():
        raise SourceError(
            f"the segmentation holds the labels {', '.join(f'{one:g}' for one in found[:8])}; known are "
            "0 (background), 1 (kidney) and 2 (tumour)",
            where=path,
            remedy="see that this is the segmentation of KiTS19, not another file or a later edition",
            code="data-set",
        )


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
