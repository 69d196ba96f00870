"""A pretrained encoder is found, identified by its weights, or refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_agnews.errors import UserError
from lora_agnews.model.architecture import read_architecture
from lora_agnews.model.build import load_tokenizer
from lora_agnews.model.encoder import find_encoder, weights_id
from lora_agnews.model.lora import LoraSpec, predict_budget
from tests.messages import check_message

# Models: the files of a folder, data.max_length, model.lora.target_modules, what the message must contain.
GPT = {"config.json": '{"model_type": "gpt2"}'}


HALF = {"config.json": '{"model_type": "bert", "hidden_size": 8}'}


BROKEN = {"config.json": "{"}


BAD_MODELS: list[tuple[dict[str, str] | None, int, list[str], list[str]]] = [
    ({}, 256, ["query"], ["model.name=", "no config.json"]),
    (GPT, 256, ["query"], ["a gpt2 model can't be used", "encoder"]),
    (HALF, 256, ["query"], ["can't build a model from its config.json"]),
    (BROKEN, 256, ["query"], ["config.json is not JSON"]),
    (None, 8192, ["query"], ["data.max_length=8192", "tiny", "use at most"]),
    (None, 256, ["query", "quary"], ["model.lora.target_modules", "quary", "query, value"]),
    (None, 256, ["classifier.densee"], ["classifier.densee", "classifier.dense"]),
]


@pytest.mark.parametrize(("files", "max_length", "targets", "fragments"), BAD_MODELS)
def test_a_model_that_cannot_be_used_is_refused(
    files: dict[str, str] | None,
    max_length: int,
    targets: list[str],
    fragments: list[str],
    tmp_path: Path,
    lora: Callable[..., LoraSpec],
) -> None:
    for name, text in (files or {}).items():
        (tmp_path / name).write_text(text)

    def use() -> None:
        name = "tiny" if files is None else str(tmp_path)
        predict_budget(read_architecture(name), lora(target_modules=targets))
        load_tokenizer(find_encoder(name, None), max_length)

    with pytest.raises(UserError) as caught:
        use()
    check_message(str(caught.value), fragments)


def test_a_revision_of_something_that_has_none_is_refused(tmp_path: Path) -> None:
    for name in ("tiny", str(tmp_path)):
        with pytest.raises(UserError, match="revision=v9: only models of the hub"):
            find_encoder(name, "v9")


@pytest.mark.parametrize("name", ["/no/such/dir", "./here", "a/b/c"])
def test_a_folder_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(UserError) as caught:
        find_encoder(name, None)
    check_message(str(caught.value), [f"model.name={name}", "no such folder"])


def test_other_weights_in_the_same_folder_are_other_weights(tmp_path: Path) -> None:
    shutil.copytree(find_encoder("tiny", None).folder, tmp_path / "model")
    encoder = find_encoder(str(tmp_path / "model"), None)
    before = weights_id(encoder)
    assert before == weights_id(find_encoder("tiny", None))
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    assert weights_id(encoder) != before
