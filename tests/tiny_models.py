"""Tiny model folders of several families, with random weights and made on the fly. Needs the extra.

Their answers are short English crumbs that depend on image, text and family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers as hf

from benchmarks.random_models import TEMPLATE, qwen25vl, save, talkative, tokenizer


def llava_onevision(folder: Path) -> Path:
    """Images are cut into as many crops as suit them."""
    tokens = tokenizer(["<image>", "<video>"], image_token="<image>", video_token="<video>")
    crops = [[32, 32], [32, 64], [64, 32], [64, 64]]
    processor = hf.LlavaOnevisionProcessor(
        image_processor=hf.LlavaOnevisionImageProcessor(
            size={"height": 32, "width": 32}, image_grid_pinpoints=crops
        ),
        tokenizer=tokens,
        video_processor=hf.LlavaOnevisionVideoProcessor(size={"height": 32, "width": 32}),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=TEMPLATE.replace("IMAGE", "<image>\n"),
    )
    config = hf.LlavaOnevisionConfig(
        vision_config=_tower("siglip_vision_model", image_size=32, patch_size=8, vision_use_head=False),
        text_config=_text("qwen2", tokens),
        image_token_index=tokens.convert_tokens_to_ids("<image>"),
        video_token_index=tokens.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=crops,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=False,
    )
    return _write(folder, hf.LlavaOnevisionForConditionalGeneration(config), processor, tokens)


def llava(folder: Path) -> Path:
    """Every image is cut to one size."""
    tokens = tokenizer(["<image>"], image_token="<image>")
    processor = hf.LlavaProcessor(
        image_processor=hf.CLIPImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        ),
        tokenizer=tokens,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE.replace("IMAGE", "<image>\n"),
    )
    config = hf.LlavaConfig(
        image_token_index=tokens.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        vision_config=_tower("clip_vision_model", image_size=32, patch_size=8, projection_dim=32),
        text_config=_text("llama", tokens),
        tie_word_embeddings=False,
    )
    return _write(folder, hf.LlavaForConditionalGeneration(config), processor, tokens)


def internvl(folder: Path) -> Path:
    """Images are cut into patches of one size."""
    names = ["<img>", "</img>", "<IMG_CONTEXT>", "<video>"]
    tokens = tokenizer(
        names,
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    processor = hf.InternVLProcessor(
        image_processor=hf.GotOcr2ImageProcessor(
            size={"height": 32, "width": 32}, crop_to_patches=True, max_patches=4
        ),
        tokenizer=tokens,
        video_processor=hf.InternVLVideoProcessor(size={"height": 32, "width": 32}),
        image_seq_length=4,
        chat_template=TEMPLATE.replace("IMAGE", "<IMG_CONTEXT>\n"),
    )
    config = hf.InternVLConfig(
        image_token_id=tokens.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        downsample_ratio=0.5,
        vision_feature_layer=-1,
        vision_config=_tower("internvl_vision", image_size=[32, 32], patch_size=[8, 8]),
        text_config=_text("qwen2", tokens),
        tie_word_embeddings=False,
    )
    return _write(folder, hf.InternVLForConditionalGeneration(config), processor, tokens)


def llava_next(folder: Path, text: str) -> Path:
    """Images are cut into as many crops as suit them; on a text model of one or the other kind."""
    tokens = tokenizer(["<image>"], image_token="<image>")
    crops = [[32, 64], [64, 32], [64, 64]]
    processor = hf.LlavaNextProcessor(
        image_processor=hf.LlavaNextImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_grid_pinpoints=crops
        ),
        tokenizer=tokens,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE.replace("IMAGE", "<image>\n"),
    )
    config = hf.LlavaNextConfig(
        image_token_index=tokens.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=crops,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        vision_config=_tower("clip_vision_model", image_size=32, patch_size=8, projection_dim=32),
        text_config=_text(text, tokens),
        tie_word_embeddings=False,
    )
    return _write(folder, hf.LlavaNextForConditionalGeneration(config), processor, tokens)


def _marks_of_idefics() -> list[str]:
    places = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    return ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *places]


def idefics3(folder: Path) -> Path:
    """Images are cut into rows and columns, each with marks around it."""
    tokens = tokenizer(_marks_of_idefics(), image_token="<image>")
    processor = hf.Idefics3Processor(
        image_processor=hf.Idefics3ImageProcessor(
            size={"longest_edge": 64}, max_image_size={"longest_edge": 32}
        ),
        tokenizer=tokens,
        image_seq_len=4,
        chat_template=TEMPLATE.replace("IMAGE", "<image>"),
    )
    config = hf.Idefics3Config(
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        vision_config=_tower("idefics3_vision", image_size=32, patch_size=8),
        text_config=_text("llama", tokens),
        tie_word_embeddings=False,
    )
    return _write(folder, hf.Idefics3ForConditionalGeneration(config), processor, tokens)


def smolvlm(folder: Path) -> Path:
    """As Idefics3, with a processor of its own that also takes films."""
    tokens = tokenizer([*_marks_of_idefics(), "<video>"], image_token="<image>", video_token="<video>")
    sizes = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    processor = hf.SmolVLMProcessor(
        image_processor=hf.SmolVLMImageProcessor(**sizes),
        tokenizer=tokens,
        video_processor=hf.SmolVLMVideoProcessor(**sizes, video_sampling={"max_frames": 4, "fps": 1}),
        image_seq_len=4,
        chat_template=TEMPLATE.replace("IMAGE", "<image>"),
    )
    config = hf.SmolVLMConfig(
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        vision_config=_tower("smolvlm_vision", image_size=32, patch_size=8),
        text_config=_text("llama", tokens),
        tie_word_embeddings=False,
    )
    return _write(folder, hf.SmolVLMForConditionalGeneration(config), processor, tokens)


def instructblip(folder: Path) -> Path:
    """One image, no chat template, and a second tokenizer that reads the question beside the image."""
    tokens, reader = tokenizer(["<image>"]), tokenizer()
    processor = hf.InstructBlipProcessor(
        image_processor=hf.BlipImageProcessor(size={"height": 32, "width": 32}),
        tokenizer=tokens,
        qformer_tokenizer=reader,
        num_query_tokens=4,
    )
    qformer = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 32, "intermediate_size": 64}
    config = hf.InstructBlipConfig(
        vision_config=_tower("instructblip_vision_model", image_size=32, patch_size=8),
        qformer_config={**qformer, "vocab_size": len(reader), "encoder_hidden_size": 32},
        text_config=_text("llama", tokens),
        num_query_tokens=4,
        image_token_index=tokens.convert_tokens_to_ids("<image>"),
    )
    return _write(folder, hf.InstructBlipForConditionalGeneration(config), processor, tokens)


def phi4(folder: Path) -> Path:
    """Images are cut into crops; the model also hears, and nothing is said to it here."""
    names = {"image_token": "<|image|>", "audio_token": "<|audio|>"}
    tokens = tokenizer(list(names.values()), **names)
    processor = hf.Phi4MultimodalProcessor(
        image_processor=hf.Phi4MultimodalImageProcessor(
            size={"height": 448, "width": 448}, patch_size=14, dynamic_hd=2
        ),
        audio_processor=hf.Phi4MultimodalFeatureExtractor(),
        tokenizer=tokens,
        chat_template=TEMPLATE.replace("IMAGE", "<|image|>"),
    )
    number = tokens.convert_tokens_to_ids
    config = hf.Phi4MultimodalConfig(
        **{name: value for name, value in _text("phi", tokens).items() if name != "model_type"},
        vision_config={
            **_tower("phi4_multimodal_vision", image_size=448, patch_size=14, crop_size=448),
            "image_token_id": number("<|image|>"),
        },
        audio_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_blocks": 1,
            "num_attention_heads": 2,
            "ext_pw_out_channel": 32,
            "depthwise_separable_out_channel": 32,
            "nemo_conv_channels": 32,
            "audio_token_id": number("<|audio|>"),
        },
    )
    return _write(folder, hf.Phi4MultimodalForCausalLM(config), processor, tokens)


def llama(folder: Path, *, context: int = 4096, **settings: Any) -> Path:
    """A text model; `settings` are its own generation settings."""
    tokens = tokenizer()
    tokens.chat_template = TEMPLATE.replace("IMAGE", "")
    config = hf.LlamaConfig(**{**_text("llama", tokens), "max_position_embeddings": context})
    model = hf.LlamaForCausalLM(config)
    model.generation_config.update(**settings)
    return _write(folder, model, tokens, tokens)


VISION: Mapping[str, Callable[[Path], Path]] = {
    "qwen2.5-vl": qwen25vl,
    "llava-onevision": llava_onevision,
    "llava": llava,
    "internvl": internvl,
    "llava-next-mistral": partial(llava_next, text="mistral"),
    "llava-next-vicuna": partial(llava_next, text="llama"),
    "idefics3": idefics3,
    "smolvlm": smolvlm,
    "instructblip": instructblip,
    "phi4": phi4,
}


def _text(kind: str, tokens: Any) -> dict[str, Any]:
    return {
        "model_type": kind,
        "vocab_size": len(tokens),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": tokens.eos_token_id,
        "pad_token_id": tokens.pad_token_id,
    }


def _tower(kind: str, **more: Any) -> dict[str, Any]:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return {"model_type": kind, **sizes, **more}


def _write(folder: Path, model: Any, writer: Any, tokens: Any) -> Path:
    torch.manual_seed(0)
    talkative(model, tokens)
    return save(folder, model, writer)
