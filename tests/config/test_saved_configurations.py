"""A run's config.yaml is read literally, and keys of later versions do not change the identity of earlier runs."""

import dataclasses
import time
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml

from lora_agnews.config.compose import compose_config, load_config_file
from lora_agnews.config.identity import config_hash
from lora_agnews.config.rules import config_keys
from lora_agnews.config.schema import TrainConfig
from lora_agnews.errors import UserError


def save(tmp_path: Path, values: dict[str, Any]) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize("text", ["a${seed}b", "${oc.env:HOME}", "\\${x}", "x\\\\${seed}", "${", "plain\\n"])
def test_a_text_with_a_dollar_and_a_brace_is_only_a_text(tmp_path: Path, text: str) -> None:
    values = compose_config(["model=tiny"]).to_dict()
    values["logger"]["project"] = text
    assert load_config_file(save(tmp_path, values)).logger.project == text


def test_a_file_that_a_run_did_not_write_is_refused(tmp_path: Path) -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"{c}: &{c} [*{b}, *{b}]\n" for b, c in zip("abcdefgh", "bcdefghi", strict=True))
    for text in (bomb, "[1, 2]", "x" * (2 << 20), "a: ["):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(UserError, match=r"config\.yaml: not a configuration of this version"):
            load_config_file(tmp_path / "config.yaml")


@pytest.fixture
def two_later_keys(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Let two of today's keys be keys that were added after version 0.1."""
    before = {"trainer.compile": False, "data.bucket": 50}
    for key, spec, _ in config_keys(TrainConfig):
        if key in before:
            metadata = MappingProxyType({**spec.metadata, "as_before": before[key]})
            monkeypatch.setattr(spec, "metadata", metadata)
    return before


def test_a_later_key_is_left_out_of_the_hash_while_it_means_as_before(two_later_keys: dict[str, Any]) -> None:
    values = compose_config(["model=tiny"]).to_dict()
    older = compose_config(["model=tiny"]).to_dict()
    del older["trainer"]["compile"], older["data"]["bucket"]
    assert config_hash(values) == config_hash(older)
    changed = compose_config(["model=tiny", "data.bucket=7"]).to_dict()
    assert config_hash(changed) != config_hash(older)
    assert changed["data"]["bucket"] == 7, "hashing changes nothing"


def test_an_older_file_without_later_keys_is_read(tmp_path: Path, two_later_keys: dict[str, Any]) -> None:
    older = compose_config(["model=tiny"]).to_dict()
    del older["trainer"]["compile"], older["data"]["bucket"]
    config = load_config_file(save(tmp_path, older))
    assert (config.trainer.compile, config.data.bucket) == (False, 50)
    assert dataclasses.asdict(config.optim) == older["optim"]


@pytest.mark.parametrize("which", ["winner", "tied", "all", "none"])
def test_what_a_sweep_tests_is_no_part_of_the_identity_of_its_runs(tmp_path: Path, which: str) -> None:
    values = compose_config(["model=tiny", f"test={which}"]).to_dict()
    assert "test" not in values
    assert config_hash(values) == config_hash(compose_config(["model=tiny"]).to_dict())
    assert load_config_file(save(tmp_path, values)).test == "all"


def test_a_file_without_a_key_of_version_0_1_is_refused(tmp_path: Path) -> None:
    values = compose_config(["model=tiny"]).to_dict()
    del values["optim"]["lr"]
    with pytest.raises(UserError, match=r"not a configuration of this version: .*optim\.lr"):
        load_config_file(save(tmp_path, values))


def test_a_deep_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("[" * 100_000)
    began = time.monotonic()
    with pytest.raises(UserError, match="too deep, so no run wrote it"):
        load_config_file(tmp_path / "config.yaml")
    assert time.monotonic() - began < 2
