"""Read the header of a GGUF file: what kind of model it is and what it needs.

Only keys and values are read, never a tensor, and vocabularies are passed over: the `gguf` package, which
makes an object of every word, takes seconds to half a minute and up to a gigabyte for the same.
The specification is ggml's `docs/gguf.md`. Files come from anywhere: whatever is not a whole header is
refused in one sentence.
"""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from providers.errors import ModelNotFound, Unusable

type Value = int | float | str | list[int | float] | None

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LONGEST_ARRAY = 4096  # per-layer settings are read, vocabularies are not
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
# llama.cpp's `llama_ftype`: the type of most tensors.
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
    26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16",
    36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip


@dataclass(frozen=True)
class Header:
    """The keys of one file; `size` is that of all its shards, in bytes."""

    path: Path
    size: int
    fields: dict[str, Value]

    @property
    def architecture(self) -> str:
        """As llama.cpp names it: `llama`, `qwen2vl`; `clip` is a projector for images or sound."""
        return str(self.fields.get("general.architecture", ""))

    @property
    def is_projector(self) -> bool:
        return self.architecture == "clip"

    @property
    def sees(self) -> bool:
        """Whether a projector is one for images; files that do not say so are older than sound."""
        return self.is_projector and bool(self.fields.get("clip.has_vision_encoder", True))

    @property
    def width(self) -> int | None:
        """The embedding width of a model, or the one that a projector is made for, if it says so."""
        if self.is_projector:
            # Older converters wrote the width of the image tower's own projection into this key.
            recent = self.fields.get("general.type") == "mmproj"
            return self._number("clip.vision.projection_dim") if recent else None
        return self._setting("embedding_length")

    @property
    def context(self) -> int | None:
        """How many tokens the model was trained to read."""
        return self._setting("context_length")

    @property
    def chat_template(self) -> str | None:
        """The Jinja template, if the file has one."""
        template = self.fields.get("tokenizer.chat_template")
        return template if isinstance(template, str) else None

    @property
    def quantization(self) -> str | None:
        """The type of most tensors, as llama.cpp calls it: `Q4_K_M`."""
        number = self._number("general.file_type")
        return None if number is None else _FILE_TYPES.get(number, f"type {number}")

    @property
    def slides(self) -> bool:
        """Whether some layers attend only to a window, so that `cache_bytes` says too much."""
        return self._setting("attention.sliding_window") is not None

    @property
    def cache_bytes(self) -> int:
        """The most bytes that the key-value cache takes for one token, in half precision."""
        layers, width = self._setting("block_count") or 0, self._setting("embedding_length") or 0
        heads = max(self._setting("attention.head_count") or 1, 1)
        kv_heads = self._setting("attention.head_count_kv") or heads
        key = self._setting("attention.key_length") or width // heads
        value = self._setting("attention.value_length") or width // heads
        return 2 * layers * kv_heads * (key + value)

    def _setting(self, name: str) -> int | None:
        return self._number(f"{self.architecture}.{name}")

    def _number(self, name: str) -> int | None:
        value = self.fields.get(name)
        if isinstance(value, list):
            value = max(value, default=None)  # set layer by layer: the largest bounds them all
        return value if isinstance(value, int) and value >= 0 else None


def read_header(path: Path) -> Header:
    """The header of a GGUF file and the size of all its shards. Raises `ModelNotFound` or `Unusable`."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
            if not start:
                raise Unusable(f"{path} is empty: fetch it again.")
            if start != _MAGIC:
                raise Unusable(
                    f"{path} is not a GGUF file: llama.cpp reads no other (convert_hf_to_gguf.py makes one)."
                )
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                fields = _Reader(data).fields()
        size = sum(shard.stat().st_size for shard in shards(path))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ModelNotFound(f"There is no file {error.filename or path}.") from None
    except OSError as error:
        raise Unusable(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, KeyError) as error:
        what = f"a value of type {error}" if isinstance(error, KeyError) else error
        raise Unusable(f"{path} is cut off or damaged ({what}): fetch it again.") from None
    return Header(path, size, fields)


def shards(path: Path) -> list[Path]:
    """All files of a model that was split (`-00001-of-00003.gguf`), or the one file."""
    match = _SHARD.fullmatch(path.name)
    if not match:
        return [path]
    stem, _, count = match.groups()
    return [path.with_name(f"{stem}-{number:05}-of-{count}.gguf") for number in range(1, int(count) + 1)]


class _Reader:
    """Walks through a header; every step is checked against the end of the file."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = len(_MAGIC)

    def fields(self) -> dict[str, Value]:
        (version,) = self._take("I")
        if version not in _VERSIONS:
            raise ValueError(f"GGUF version {version}")
        _tensors, count = self._take("QQ")
        fields: dict[str, Value] = {}
        for _ in range(count):
            name = self._string()
            (kind,) = self._take("I")
            fields[name] = self._value(kind)
        return fields

    def _value(self, kind: int) -> Value:
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            (value,) = self._take(_SCALARS[kind])
            return value
        item, count = self._take("IQ")
        if item == _STRING:
            # A vocabulary has a few hundred thousand words: no calls of our own for each.
            data, at, length_at = self._data, self._at, struct.Struct("<Q").unpack_from
            try:
                for _ in range(count):
                    at += 8 + length_at(data, at)[0]
            except (struct.error, OverflowError):
                at = len(data) + 1
            self._skip(at - self._at)
            return None
        code = _SCALARS[item]
        if count > _LONGEST_ARRAY:
            self._skip(count * struct.calcsize(f"<{code}"))
            return None
        return list(self._take(f"{count}{code}"))

    def _string(self) -> str:
        (length,) = self._take("Q")
        start = self._at
        self._skip(length)
        return self._data[start : self._at].decode("utf-8", "replace")

    def _take(self, code: str) -> tuple[int, ...]:
        layout, start = f"<{code}", self._at
        self._skip(struct.calcsize(layout))
        return struct.unpack_from(layout, self._data, start)

    def _skip(self, length: int) -> None:
        if length > len(self._data) - self._at:
            raise ValueError("it ends within its header")
        self._at += length
