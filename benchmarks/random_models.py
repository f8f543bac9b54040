"""Vision models with random weights, written as model folders without any network.

What they say is words without sense, but it depends on the image, the text and the weights' seed: good for
speed, and for comparing one way of asking with another. Needs the extra `transformers`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before the engine is loaded: threads that spin while they wait slow each other down.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

# Every message begins and ends with a mark; content is a text or a list of parts, as processors give it.
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = (
    "the image shows a red blue green object behind the blocks I cannot tell move camera left right 0,1 A. B."
)


@dataclass(frozen=True)
class Shape:
    """The sizes of a Qwen2.5-VL: those of the text model, then those of the vision tower."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    words: int | None  # rows of the vocabulary; None for as many as the tokenizer has
    tied: bool
    sections: tuple[int, int, int]
    depth: int
    seen: int
    seen_inner: int
    window: int
    full: tuple[int, ...]


# As in the configurations of Qwen2.5-VL-3B-Instruct and Qwen2.5-VL-7B-Instruct (8.3 billion weights).
_TOWER: dict[str, Any] = {
    "depth": 32,
    "seen": 1280,
    "seen_inner": 3420,
    "window": 112,
    "full": (7, 15, 23, 31),
    "sections": (16, 24, 24),
}
SHAPES = {
    "tiny": Shape(64, 128, 2, 4, 2, None, False, (2, 3, 3), 2, 32, 64, 56, (1,)),
    "3b": Shape(2048, 11008, 36, 16, 2, 151936, True, **_TOWER),
    "8b": Shape(3584, 18944, 28, 28, 4, 152064, False, **_TOWER),
}


def tokenizer(special: Sequence[str] = (), **named: str) -> Any:
    """A byte-level tokenizer of a few hundred tokens; `named` are its image tokens by their attribute."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *special]
    trainer = trainers.BpeTrainer(
        vocab_size=256 + len(marks) + 80,
        special_tokens=marks,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator([CORPUS], trainer)
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=4096,
        extra_special_tokens=named,
    )


def talkative(model: Any, tokens: Any, seed: int = 0) -> None:
    """Weights with which the answer is printable words that depend on all that was asked."""
    generator = torch.Generator().manual_seed(seed)
    texts = enumerate(tokens.batch_decode([[number] for number in range(len(tokens))]))
    words = {
        number for number, text in texts if text.strip().isprintable() and text.isascii() and text.strip()
    }
    spoken = sorted((words - set(tokens.all_special_ids)) | {tokens.eos_token_id})
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                spread = 1.5 / math.sqrt(weights[0].numel())
                weights.copy_(torch.randn(weights.shape, generator=generator) * spread)
        model.get_input_embeddings().weight.normal_(generator=generator)
        said = torch.zeros_like(model.get_output_embeddings().weight)
        said[spoken] = torch.randn((len(spoken), said.shape[1]), generator=generator)
        model.get_output_embeddings().weight.copy_(said)


def save(folder: Path, model: Any, writer: Any) -> Path:
    """Write a model and its processor or tokenizer."""
    hf.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    writer.save_pretrained(folder)
    return folder


def qwen25vl(folder: Path, shape: str = "tiny", device: str = "cpu", dtype: str = "float32") -> Path:
    """A Qwen2.5-VL of one of `SHAPES`; image tokens grow with the image, 28 x 28 pixels each."""
    names = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokens = tokenizer(names, image_token="<|image_pad|>", video_token="<|video_pad|>")
    template = TEMPLATE.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    pixels = {"min_pixels": 28 * 28 * 2, "max_pixels": 28 * 28 * (16 if shape == "tiny" else 1280)}
    processor = hf.Qwen2_5_VLProcessor(
        image_processor=hf.Qwen2VLImageProcessor(**pixels),
        tokenizer=tokens,
        video_processor=hf.Qwen2VLVideoProcessor(),
        chat_template=template,
    )
    config = _qwen25vl(SHAPES[shape], tokens)
    with torch.device(device):
        torch.manual_seed(0)
        model = hf.Qwen2_5_VLForConditionalGeneration._from_config(config, dtype=getattr(torch, dtype))
    if shape == "tiny":
        talkative(model, tokens)
    return save(folder, model, processor)


def _qwen25vl(shape: Shape, tokens: Any) -> Any:
    number = tokens.convert_tokens_to_ids
    return hf.Qwen2_5_VLConfig(
        vision_config={
            "depth": shape.depth,
            "hidden_size": shape.seen,
            "intermediate_size": shape.seen_inner,
            "num_heads": 2 if shape.seen == 32 else 16,
            "out_hidden_size": shape.hidden,
            "window_size": shape.window,
            "fullatt_block_indexes": list(shape.full),
        },
        text_config={
            "vocab_size": shape.words or len(tokens),
            "hidden_size": shape.hidden,
            "intermediate_size": shape.inner,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "max_position_embeddings": 4096 if shape.words is None else 32768,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": list(shape.sections),
            },
            "tie_word_embeddings": shape.tied,
            "bos_token_id": None,
            "eos_token_id": tokens.eos_token_id,
            "pad_token_id": tokens.pad_token_id,
        },
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
        tie_word_embeddings=shape.tied,
    )
