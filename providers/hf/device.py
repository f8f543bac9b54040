"""Choose the device and the precision of a model on this machine, without loading torch.

A cache key holds the precision, so it must be known also where nothing is asked; importing torch
takes seconds. What the driver says is believed; whether torch can really use the device shows when the
model is loaded.
"""

from __future__ import annotations

import ctypes
import platform
import re
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from providers.errors import Unusable

DTYPES = ("float32", "bfloat16", "float16")
ATTENTION = "sdpa"  # as in the benchmark's own loop
_BFLOAT16_FROM = (8, 0)  # compute capability: Ampere
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CUdevice_attribute


@dataclass(frozen=True, slots=True)
class Setting:
    """`device` as torch names it, `dtype` the precision of weights and arithmetic."""

    device: str
    dtype: str
    attention: str

    def __str__(self) -> str:
        return f"{self.device}, {self.dtype}, {self.attention} attention"


def choose(device: str | None = None, dtype: str | None = None, attention: str | None = None) -> Setting:
    """What was asked for, and for the rest what suits this machine. Raises `Unusable`."""
    if device is not None and not re.fullmatch(r"cpu|mps|cuda(:\d+)?", device):
        raise Unusable(f"There is no device {device!r}: give cpu, cuda, cuda:1 (or another number) or mps.")
    if dtype is not None and dtype not in DTYPES:
        raise Unusable(f"There is no precision {dtype!r}: give {', '.join(DTYPES)}.")
    if device is None and sys.platform == "darwin" and platform.machine() == "arm64":
        device = "mps"
    elif device is None:
        device = "cuda" if cuda_capability() and not _without_cuda() else "cpu"
    if dtype is None and device == "cpu":
        dtype = "float32"  # the only one that every processor computes fast and alike
    elif dtype is None:
        capability = None if device == "mps" else cuda_capability(int(device.partition(":")[2] or 0))
        dtype = "float16" if capability and capability < _BFLOAT16_FROM else "bfloat16"
    return Setting(device, dtype, attention or ATTENTION)


def cuda_capability(number: int = 0) -> tuple[int, int] | None:
    """The compute capability of a CUDA device, from the driver; None where there is no such device."""
    try:
        driver = ctypes.CDLL("libcuda.so.1" if sys.platform != "win32" else "nvcuda.dll")
    except OSError:
        return None
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    known = (
        driver.cuInit(0) == 0
        and driver.cuDeviceGet(ctypes.byref(device), number) == 0
        and driver.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, device) == 0
        and driver.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, device) == 0
    )
    return (major.value, minor.value) if known else None


def _without_cuda() -> bool:
    """Whether torch is installed, built for the processor alone."""
    try:
        return version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False
