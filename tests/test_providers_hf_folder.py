"""Model folders without an engine: where they are, what they hold, their digest."""

from __future__ import annotations

import json

import pytest

from providers import ModelNotFound, Unusable
from providers.hf.folder import find, folder_digest, settings, weight_bytes
from providers.weights import Digests


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text(json.dumps({"model_type": "any"}))
    (made / "model.safetensors").write_bytes(b"weights")
    return made


def test_a_folder_is_itself(folder, monkeypatch):
    assert find(str(folder)) == folder
    monkeypatch.chdir(folder.parent)
    assert find("model").resolve() == folder


@pytest.mark.parametrize("name", ["nowhere", "./a/b", "/a/b/c", "a/b/c", "~/nowhere", "", "a b/c?"])
def test_a_folder_that_is_not_there_is_named(name):
    with pytest.raises(ModelNotFound, match="There is no model folder"):
        find(name, fetch=False)


def test_a_file_of_the_other_engine_is_told(tmp_path):
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelNotFound, match=r"is a file, but a model folder is needed.*--provider llamacpp"):
        find(str(tmp_path / "m.gguf"))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_a_model_of_the_hub_is_taken_from_its_cache(hub):
    snapshot = hub / "models--org--name" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    refs = hub / "models--org--name" / "refs"
    refs.mkdir()
    (refs / "main").write_text("0123")
    (snapshot / "model.safetensors").write_bytes(b"weights")
    assert find("org/name", fetch=False) == snapshot


def test_a_model_that_is_not_in_the_cache_is_not_fetched_unasked(hub):
    with pytest.raises(ModelNotFound, match="org/name is no folder here and not in the local cache"):
        find("org/name", fetch=False)


def test_a_download_that_fails_is_one_sentence(hub):
    said: list[str] = []
    # No test leaves this machine.
    with pytest.raises(
        Unusable, match=r"There is no folder org/name here, and fetching it .* failed: ."
    ) as raised:
        find("org/name", say=said.append)
    assert "\n" not in str(raised.value)
    assert said == ["Fetching org/name from the Hugging Face hub."]


def test_settings_are_the_configuration(folder):
    assert settings(folder) == {"model_type": "any"}
    assert weight_bytes(folder) == 7


def test_only_one_format_of_weights_counts(folder):
    (folder / "pytorch_model.bin").write_bytes(b"the same weights, older")
    assert weight_bytes(folder) == 7


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("config.json", None, ModelNotFound, "holds no config.json"),
        ("config.json", "{", Unusable, "cannot be read"),
        ("config.json", "[]", Unusable, "is no model's configuration"),
        ("model.safetensors", None, ModelNotFound, "holds no weights"),
        ("adapter_config.json", "{}", ModelNotFound, "holds an adapter: merge it into its model first"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(folder, name, content, error, said):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises(error, match=said):
        settings(folder)


def test_an_adapter_alone_is_told(folder):
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelNotFound, match="holds an adapter: merge it into its model first"):
        settings(folder)


def test_the_digest_knows_what_is_loaded_and_nothing_else(folder, tmp_path):
    def now() -> str:
        return folder_digest(folder, Digests().of)

    first = now()
    (folder / "README.md").write_text("words")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.json").write_text("another format")
    assert now() == first
    assert folder_digest(folder.rename(tmp_path / "moved"), Digests().of) == first
    (tmp_path / "moved").rename(folder)
    for name in ("tokenizer.model", "merges.txt", "additional_chat_templates/tool.jinja"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("new")
        assert now() != first
        (folder / name).unlink()
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    assert now() != first
