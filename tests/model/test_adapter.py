"""The folder adapter/ is one that plain PEFT writes and reads."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_agnews.config.start_adapter import hash_tensors
from lora_agnews.errors import UserError
from lora_agnews.model.adapter import copy_adapter, load_adapter, read_base, save_adapter
from lora_agnews.model.build import build_model, load_base
from lora_agnews.model.encoder import find_encoder
from lora_agnews.model.lora import LoraSpec
from tests.models import TINY, Change, MakeLora, perturb, some_batch


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft 0.21 with transformers 5.23
def test_a_head_without_an_adapter_is_saved_the_way_peft_does(lora: MakeLora, tmp_path: Path) -> None:
    save_adapter(build_model(TINY, lora(target_modules=["query"]), 0), TINY, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["task_type"], config["modules_to_save"]) == ("SEQ_CLS", ["classifier"])
    assert config["base_model_name_or_path"] == "tiny"
    loaded = peft.PeftModel.from_pretrained(load_base(TINY), tmp_path)
    loaded.save_pretrained(tmp_path / "again", save_embedding_layers=False)
    first, again = (load_file(folder / "adapter_model.safetensors") for folder in (tmp_path, tmp_path / "again"))
    assert set(first) == set(again)
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft 0.21
def test_a_changed_value_in_an_adapter_is_noticed(tmp_path: Path, lora: Callable[..., LoraSpec]) -> None:
    encoder = find_encoder("tiny", None)
    save_adapter(build_model(encoder, lora(), 0), encoder, tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged: values of the adapters or the head are missing or changed"):
        load_adapter(tmp_path, encoder)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft 0.21
@pytest.mark.parametrize("change", [{"target_modules": "("}, {"target_modules": 5}, {"r": "x"}, {"peft_type": "?"}])
def test_a_damaged_configuration_of_an_adapter_is_one_message(
    tmp_path: Path, lora: Callable[..., LoraSpec], change: dict[str, Any]
) -> None:
    save_adapter(build_model(TINY, lora(), 0), TINY, tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match="PEFT can't load it"):
        load_adapter(tmp_path, TINY)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft 0.21
@pytest.mark.parametrize("made", ["{", "5", "[]", "{}", '{"init": "default", "alpha": "x"}'])
def test_damaged_metadata_of_an_adapter_is_one_message(
    tmp_path: Path, lora: Callable[..., LoraSpec], made: str
) -> None:
    save_adapter(build_model(TINY, lora(), 0), TINY, tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    save_file(load_file(path), path, metadata={"lora_agnews": made})
    with pytest.raises(UserError, match="can't be read as what a run saved"):
        load_adapter(tmp_path, TINY)


def test_a_deep_adapter_config_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"a":' * 100_000)
    with pytest.raises(UserError, match=r"its adapter_config\.json can't be read"):
        read_base(tmp_path)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft 0.21
@pytest.mark.parametrize(
    "change",
    [
        {"head": "full"},
        {"head": "lora", "use_rslora": True},
        {"head": "out_proj", "bias": "all"},
        {"use_dora": True, "init": "orthogonal", "r": 2, "bias": "lora_only"},
    ],
    ids=str,
)
def test_a_model_that_starts_from_an_adapter_has_its_logits_bit_for_bit(
    tmp_path: Path, lora: MakeLora, change: Change
) -> None:
    trained = build_model(TINY, lora(**change), 0)
    perturb(trained)
    save_adapter(trained, TINY, tmp_path)
    started = build_model(TINY, lora(**change | {"dropout": 0.1}), 1)
    gradients = {name for name, each in started.named_parameters() if each.requires_grad}
    values = load_file(tmp_path / "adapter_model.safetensors")
    copy_adapter(tmp_path, TINY, started, hash_tensors({name: each.numpy() for name, each in values.items()}))
    batch = some_batch()
    assert torch.equal(started.eval()(**batch).logits, trained.eval()(**batch).logits)
    assert gradients == {name for name, each in started.named_parameters() if each.requires_grad}


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft 0.21
def test_an_adapter_that_has_changed_or_has_other_shapes_is_not_copied(tmp_path: Path, lora: MakeLora) -> None:
    save_adapter(build_model(TINY, lora(), 0), TINY, tmp_path)
    with pytest.raises(UserError, match="has changed since it was chosen to start from; its hash is not 0123"):
        copy_adapter(tmp_path, TINY, build_model(TINY, lora(), 1), "0123456789abcdef")
    with pytest.raises(UserError, match="is damaged"):
        copy_adapter(tmp_path, TINY, build_model(TINY, lora(r=2), 1), "0123456789abcdef")
