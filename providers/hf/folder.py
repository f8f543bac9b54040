"""Find a model folder in the layout of the Hugging Face hub, check what it holds, digest it.

Nothing is loaded here, so a cache key can be made without torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from providers.errors import ModelNotFound, Unusable
from providers.weights import FileDigest, combined

# What loading reads: weights, settings of model, tokenizer, processor and generation, chat templates.
_PARTS = (".safetensors", ".bin", ".pt", ".pth", ".json", ".jinja", ".model", ".txt", ".tiktoken")
_WEIGHTS = (".safetensors", ".bin")
_OLDER_WEIGHTS = (".bin", ".pt", ".pth")  # many a model has them beside its safetensors
_TEMPLATES = "additional_chat_templates"

# Families that read one image beside one text; their processors put it before the text, and have no template.
_ONE_IMAGE = frozenset({"instructblip"})
# Where a chat template may stand: in a file of its own, or under this name in one of the others.
_TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")
_WITH_TEMPLATE = ("tokenizer_config.json", "processor_config.json", "chat_template.json")


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a model can be asked, from its folder's files alone: no weights are read.

    `several_images` is whether a request may show more than one, as with a kept history and with examples;
    a model that has no `chat_template` is asked the bare text where it is of a family that never has one
    (`asked_plainly`), and else not at all.
    """

    several_images: bool
    chat_template: bool
    asked_plainly: bool


def abilities(folder: Path) -> Abilities:
    """Of the model in this folder. Raises as `settings` does."""
    one_image = settings(folder).get("model_type") in _ONE_IMAGE
    own = any((folder / name).is_file() for name in _TEMPLATE_FILES) or (folder / _TEMPLATES).is_dir()
    return Abilities(not one_image, own or any(map(_names_template, _json_files(folder))), one_image)


def _json_files(folder: Path) -> list[Path]:
    return [path for name in _WITH_TEMPLATE if (path := folder / name).is_file()]


def _names_template(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text("utf-8")).get("chat_template"))
    except (OSError, ValueError, AttributeError):
        return False  # loading will say what is wrong with it


def find(model: str, *, fetch: bool = True, say: Callable[[str], None] = lambda text: None) -> Path:
    """The folder of `model`: one on this machine, or else the snapshot of a model on the hub.

    With `fetch` it may be downloaded. Raises `ModelNotFound`, or `Unusable` when the download fails.
    """
    path = Path(model).expanduser()
    if model and path.is_dir():
        return path
    if model and path.exists():
        hint = ": that is a model for --provider llamacpp" if path.suffix == ".gguf" else ""
        raise ModelNotFound(f"{model} is a file, but a model folder is needed{hint}.")
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise ModelNotFound(f"There is no model folder {model}.")
    return _snapshot(model, fetch, say)


def _snapshot(name: str, fetch: bool, say: Callable[[str], None]) -> Path:
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        folder = _download(name, _PARTS, local_files_only=True)
        if weight_bytes(folder):
            return folder
    except HFValidationError:
        raise ModelNotFound(f"There is no model folder {name}.") from None
    except LocalEntryNotFoundError:
        pass
    if not fetch:
        raise ModelNotFound(f"{name} is no folder here and not in the local cache of the hub.")
    say(f"Fetching {name} from the Hugging Face hub.")
    try:
        folder = _download(name, tuple(part for part in _PARTS if part not in _OLDER_WEIGHTS))
        return folder if weight_bytes(folder) else _download(name, _PARTS)
    except RepositoryNotFoundError:
        raise ModelNotFound(f"There is no folder {name} here and no such model on the hub.") from None
    except Exception as error:  # the hub's, the network's and the disk's errors have no common base
        reason = str(error).strip().partition("\n")[0]
        raise Unusable(
            f"There is no folder {name} here, and fetching it from the hub failed: {reason}"
        ) from None


def _download(name: str, parts: tuple[str, ...], *, local_files_only: bool = False) -> Path:
    from huggingface_hub import snapshot_download

    folder = snapshot_download(
        name,
        allow_patterns=[f"*{part}" for part in parts],
        ignore_patterns=["onnx/*", "original/*"],  # other formats of the same weights
        local_files_only=local_files_only,
    )
    return Path(folder)


def settings(folder: Path) -> dict[str, Any]:
    """The model's `config.json`. Raises `ModelNotFound` when the folder holds no model."""
    path = folder / "config.json"
    if (folder / "adapter_config.json").is_file():
        raise ModelNotFound(f"{folder} holds an adapter: merge it into its model first.")
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelNotFound(f"{folder} is no model folder: it holds no config.json.") from None
    except (OSError, ValueError) as error:
        raise Unusable(f"{path} cannot be read: {error}.") from None
    if not isinstance(config, dict):
        raise Unusable(f"{path} is no model's configuration.")
    if not weight_bytes(folder):
        raise ModelNotFound(f"{folder} holds no weights: there is no *.safetensors or *.bin file in it.")
    return config


def weight_bytes(folder: Path) -> int:
    """How large the weights are on disk, in bytes."""
    sizes = {kind: sum(path.stat().st_size for path in folder.glob(f"*{kind}")) for kind in _WEIGHTS}
    return next(filter(None, sizes.values()), 0)


def folder_digest(folder: Path, digest: FileDigest) -> str:
    """The digest of all files that loading reads, by their names within the folder."""
    named = sorted(path for path in folder.iterdir() if path.suffix in _PARTS and path.is_file())
    named += sorted((folder / _TEMPLATES).glob("*.jinja"))
    return combined({path.relative_to(folder).as_posix(): digest(path) for path in named})
