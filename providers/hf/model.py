"""Choose device and precision, load a model folder into memory through transformers, tell what it can do.

A cache key holds the precision, so it is chosen without torch, whose import takes seconds: what the driver
says is believed, and whether torch can really use the device shows when the model is loaded.

Vision models through `AutoModelForMultimodalLM` and `AutoProcessor`, text models through
`AutoModelForCausalLM` and `AutoTokenizer`. Code that a model brings along is never run. Everything here
after `choose` is called by the thread that owns the device.
"""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import re
import resource
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from providers.errors import Unusable
from providers.hf.folder import abilities, weight_bytes
from providers.hf.sampler import Vocabulary
from providers.host_memory import forget_peak, free_memory, peak_memory
from providers.replies.error_text import one_line
from providers.types import Json

DTYPES = ("float32", "bfloat16", "float16")
ATTENTION = "sdpa"  # as in the benchmark's own loop
NEEDED = ("torch", "transformers", "accelerate")
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_BFLOAT16_FROM = (8, 0)  # compute capability: Ampere
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CUdevice_attribute
_GB = 1e9
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


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
        with suppress(PackageNotFoundError):  # torch may be built for the processor alone
            device = "cpu" if version("torch").endswith("+cpu") else None
        device = device or ("cuda" if cuda_capability() else "cpu")
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


@dataclass
class Loaded:
    """A model that can be asked. `processor` is None for a text model; `context` in tokens.

    `plain` is whether it is shown one image and the bare text, since its family has no chat template.
    """

    name: str
    model: Any
    processor: Any
    tokenizer: Any
    setting: Setting
    context: int | None
    vocabulary: Vocabulary
    plain: bool = False

    @property
    def sees(self) -> bool:
        return self.processor is not None


def engine() -> str:
    """The versions that an answer depends on. Raises `Unusable` when the extra is not installed."""
    try:
        installed = {name: version(name) for name in NEEDED}
    except PackageNotFoundError as error:
        raise Unusable(f"--provider transformers needs {error.name}: uv sync --extra transformers.") from None
    return f"transformers {installed['transformers']} / torch {installed['torch']}"


def load(
    folder: Path, name: str, config: Mapping[str, Any], setting: Setting, say: Callable[[str], None]
) -> Loaded:
    """Seconds to minutes. Raises `Unusable`: one sentence that says what is wrong."""
    # Threads of OpenMP that spin while they wait take the processors from the event loop.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        need = float(weight_bytes(folder))
        if "quantization_config" not in config:
            stored = config.get("dtype") or config.get("torch_dtype") or "float32"
            need *= _BYTES[setting.dtype] / _BYTES.get(str(stored), 4)
        device_map = _device_map(need, name, setting)
        forget_peak()
        say(f"Loading {name} ({setting}).")
        return _loaded(folder, name, setting, device_map)
    except Unusable:
        raise
    except Exception as error:
        kind = config.get("model_type")
        if out_of_memory(error):
            reason = _too_large(name, setting)
        elif kind is None or "model type" in str(error) or "trust_remote_code" in str(error):
            reason = (
                f"{engine()} does not know models of the type {kind!r} ({name}) without code of their own."
            )
        else:
            reason = f"{name} cannot be loaded: {one_line(str(error)) or type(error).__name__}"
        failure = Unusable(reason)
    # Here the error is gone, and with it the frames that held what was loaded.
    free()
    raise failure


def _loaded(folder: Path, name: str, setting: Setting, device_map: Any) -> Loaded:
    import transformers as hf

    where: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    config = hf.AutoConfig.from_pretrained(folder, **where)
    # The list has all of `AutoModelForImageTextToText`, those that also hear, and some that only hear.
    listed = type(config) in hf.MODEL_FOR_MULTIMODAL_LM_MAPPING
    vision = listed and (
        hasattr(config, "vision_config") or type(config) in hf.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    )
    processor = hf.AutoProcessor.from_pretrained(folder, **where) if vision else None
    tokenizer = processor.tokenizer if processor else hf.AutoTokenizer.from_pretrained(folder, **where)
    if processor and not processor.chat_template:
        processor.chat_template = tokenizer.chat_template  # Phi-4's own drops what it is given
    plain = abilities(folder).asked_plainly
    if not plain and not (processor or tokenizer).chat_template:
        raise Unusable(f"{name} has no chat template: it is a base model, take one that was taught to chat.")
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    kind = hf.AutoModelForMultimodalLM if vision else hf.AutoModelForCausalLM
    options = {"dtype": setting.dtype, "device_map": device_map}
    if setting.attention != ATTENTION:  # which is the library's own choice for all models that have it
        options["attn_implementation"] = setting.attention
    model, report = kind.from_pretrained(folder, **where, **options, output_loading_info=True)
    if missing := report["missing_keys"]:
        # They would be made up at random.
        raise Unusable(
            f"The weights of {name} are not whole: {len(missing)} are missing, {min(missing)} first."
        )
    if {"cpu", "disk"} & set(map(str, getattr(model, "hf_device_map", {}).values())) - {setting.device}:
        raise Unusable(_too_large(name, setting))
    ends = model.generation_config.eos_token_id
    ends = tokenizer.eos_token_id if ends is None else ends
    ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
    text = config.get_text_config()
    context = getattr(text, "max_position_embeddings", None)
    vocabulary = Vocabulary(tokenizer, text.vocab_size, ends)
    return Loaded(name, model.eval(), processor, tokenizer, setting, context, vocabulary, plain)


def _device_map(need: float, name: str, setting: Setting) -> Any:
    """Where `need` bytes of weights go: one device, or spread over all CUDA devices. Raises `Unusable`."""
    import torch

    device = setting.device
    if device.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(device.partition(":")[2] or 0) >= count:
            raise Unusable(
                f"The device {device} cannot be used: torch {torch.__version__} sees {count} of them."
            )
        for number in range(count):
            torch.cuda.reset_peak_memory_stats(number)
    if device == "mps" and not torch.backends.mps.is_available():
        raise Unusable(f"The device mps cannot be used by torch {torch.__version__}.")
    spare = free_bytes(device)
    if spare is None or need <= spare:
        return {"": device}
    if device == "cuda":
        frees = [torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count())]
        if len(frees) > 1 and need <= sum(frees):
            return "auto"
    sizes = f"Its weights take {need / _GB:.1f} GB, {spare / _GB:.1f} GB is free."
    raise Unusable(f"{_too_large(name, setting)} {sizes}")


def _too_large(name: str, setting: Setting) -> str:
    fix = "take a smaller model, a smaller precision or another device"
    return f"There is not enough memory for {name} ({setting}): {fix}."


def out_of_memory(error: BaseException) -> bool:
    """Whether this is how torch says on some device that its memory is full."""
    said = isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY)
    return said or isinstance(error, MemoryError)


def free() -> None:
    """Give memory that nothing refers to back to the device."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def free_bytes(device: str) -> int | None:
    """Memory that is free on the device, in bytes; None where the system does not say."""
    import torch

    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device if ":" in device else "cuda:0")[0])
    return free_memory()


def facts(loaded: Loaded) -> dict[str, Json]:
    """What `doctor` says of the engine and the model; the peak is that since loading began, if known."""
    import torch

    setting = loaded.setting
    cuda = setting.device.startswith("cuda")
    if cuda:
        peak = sum(torch.cuda.max_memory_allocated(number) for number in range(torch.cuda.device_count()))
    else:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak = peak_memory(os.getpid()) or (most if sys.platform == "darwin" else most * 1024)
    return {
        "engine": engine(),
        "device": torch.cuda.get_device_name(setting.device) if cuda else setting.device,
        "dtype": setting.dtype,
        "attention": str(loaded.model.config._attn_implementation),
        "model": type(loaded.model).__name__,
        "sees images": loaded.sees,
        "context": loaded.context,
        "weights bytes": int(loaded.model.get_memory_footprint()),
        "free bytes": free_bytes(setting.device),
        "peak bytes": peak,
    }
