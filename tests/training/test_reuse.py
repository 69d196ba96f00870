"""A run that exists stands for one that is asked for only with the same configuration and rows."""

from pathlib import Path

import pytest

from lora_agnews.config.compose import compose_config
from lora_agnews.data.source import Source, fingerprints, load_rows
from lora_agnews.errors import UserError
from lora_agnews.results.record import RunResult
from lora_agnews.training.reuse import check_configuration, check_rows
from tests.files_of_rows import write_labelled
from tests.records import save_record


def test_another_configuration_is_refused_but_not_another_logger(tmp_path: Path) -> None:
    found = RunResult.of(compose_config(["model=tiny", "logger.group=mine"]))
    check_configuration(tmp_path, found, compose_config(["model=tiny"]))
    with pytest.raises(UserError, match=r"a run of another configuration.*Give the sweep a new directory"):
        check_configuration(tmp_path, found, compose_config(["model=tiny", "lora.r=2"]))


@pytest.mark.parametrize("changed", ["train", "test"])
def test_rows_that_have_changed_since_a_run_are_refused(tmp_path: Path, changed: str) -> None:
    files = {split: tmp_path / f"{split}.csv" for split in ("train", "test")}
    for file in files.values():
        write_labelled(file, 53)
    values = [f"data.{split}_file={file}" for split, file in files.items()]
    for name in ("a", "b"):
        save_record(tmp_path / "sweep" / name, 0.9, "model=tiny", *values)
    check_rows(tmp_path / "sweep")  # records of version 0.1 do not know their rows
    record = RunResult.load(tmp_path / "sweep" / "b")
    record.data["fingerprints"] = fingerprints(*load_rows(Source("files", *map(str, files.values()))))
    record.save(tmp_path / "sweep" / "b")
    check_rows(tmp_path / "sweep")
    write_labelled(files[changed], 54)
    with pytest.raises(UserError, match=rf"b: the rows of .*{changed}\.csv have changed since that run"):
        check_rows(tmp_path / "sweep")
