"""The adapter that a run starts from is identified by its values."""

import shutil
from pathlib import Path

import pytest

from lora_agnews.config.compose import compose_config, load_config_file
from lora_agnews.config.identity import config_hash
from lora_agnews.config.start_adapter import hash_tensors, identify_adapter, split_adapter
from lora_agnews.errors import UserError
from tests.records import change_adapter


def test_two_adapters_are_two_configurations_and_what_is_identified_needs_no_directory(
    run_dir: Path, other_run: Path
) -> None:
    configs = [compose_config(["model=tiny", f"model.adapter={folder}"]) for folder in (run_dir, other_run)]
    assert split_adapter(configs[0].model.adapter or "")[0] == run_dir
    assert len({config_hash(config.to_dict()) for config in configs}) == 2
    again = compose_config(["model=tiny", f"model.adapter={configs[1].model.adapter}"])
    shutil.rmtree(other_run)
    assert again.to_dict() == configs[1].to_dict()
    assert load_config_file(run_dir / "config.yaml").model.adapter is None


def test_a_change_of_any_value_changes_the_hash(run_copy: Path) -> None:
    before = identify_adapter(str(run_copy))
    change_adapter(run_copy, lambda name, value: value + 1 if name.endswith("out_proj.bias") else value)
    after = identify_adapter(str(run_copy))
    assert before.partition("@")[0] == after.partition("@")[0]
    assert before != after
    assert len(hash_tensors({})) == 16


def test_a_folder_that_is_no_finished_run_is_refused(run_copy: Path, tmp_path: Path) -> None:
    path = run_copy / "adapter" / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.adapter=.*: .*adapter_model\.safetensors is damaged"):
        compose_config([f"model.adapter={run_copy}"])
    path.write_bytes(b"no adapter")
    with pytest.raises(UserError, match=r"adapter_model\.safetensors can't be read as what a run saved"):
        compose_config([f"model.adapter={run_copy}"])
    path.unlink()
    with pytest.raises(UserError, match=r"this run has not finished, so it has no adapter; continue it first"):
        compose_config([f"model.adapter={run_copy}"])
    with pytest.raises(UserError, match=r"model\.adapter=.*: not a run directory"):
        compose_config([f"model.adapter={tmp_path}"])
