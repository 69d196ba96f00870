"""Files of conf/ and overrides give a typed configuration."""

import pytest

from lora_agnews.config.compose import compose_config, compose_study, hydra_initialized
from lora_agnews.config.scripts import CONF
from lora_agnews.errors import UserError
from tests.commands import compose_line


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("", "lora.r", 1),
        ("model.lora.r=3", "lora.r", 3),
        ("lora.r=3", "lora.r", 3),
        ("lora.r=3 model.lora.r=3", "lora.r", 3),
        ("++lora.r=3", "lora.r", 3),
        ("experiment=lean lora.r=3", "lora.r", 3),
        ("experiment=lean model.lora.r=3", "lora.r", 3),
        ("model=tiny", "name", "tiny"),
        ("experiment=lean", "head", "lora"),
        ("experiment=quickstart model=distilroberta", "name", "distilbert/distilroberta-base"),
        ("'model.name=\"a=b, c\"'", "name", "a=b, c"),
        ("lora.target_modules=[query]", "lora.target_modules", ["query"]),
        ("lora.target_modules=query", "lora.target_modules", ["query"]),
        ("lora.target_modules=[]", "lora.target_modules", []),
        ("lora.target_modules=all-linear", "lora.target_modules", "all-linear"),
        ("lora.target_modules={query:4,value:8}", "lora.target_modules", {"query": 4, "value": 8}),
        ("experiment=best model.lora.target_modules={dense:2}", "lora.target_modules", {"dense": 2}),
        ("lora.layers=-4:", "lora.layers", "-4:"),
        ("-m lora.layers=[0,11],-4:,all", "lora.layers", [0, 11]),
        ("hydra.run.dir=x hydra.sweep.dir=x hydra/launcher=basic hydra.verbose=true", "lora.r", 1),
        ("-m lora.r=2,1,4", "lora.r", 2),
        ("-m lora.r=interval(1,4)", "lora.r", 1),
        ("-m model=glob(*)", "lora.r", 1),
        ("hydra.mode=MULTIRUN lora.r=2,1", "lora.r", 2),
    ],
)
def test_both_spellings_groups_sweeps_and_keys_of_hydra_are_understood(line: str, key: str, value: object) -> None:
    found: object = compose_line(line).model
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value


def test_a_number_may_be_written_as_a_power_of_ten() -> None:
    assert compose_line("optim.lr=3e-4").optim.lr == 3e-4


@pytest.mark.parametrize(
    "overrides",
    [
        f"{path.parent.name}={path.stem}" + (" data.train_file=x.csv" if path.stem == "files" else "")
        for group in ("model", "data", "experiment")
        for path in sorted((CONF / group).glob("*.yaml"))
    ],
)
def test_every_shipped_choice_composes_and_validates(overrides: str) -> None:
    config = compose_line(overrides)
    assert "lora" not in config.to_dict()
    assert config.to_dict()["model"]["lora"]["r"] == config.model.lora.r


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["study=smok"], r"study=smok: must be one of .* \(did you mean smoke\?\)"),
        (["workers=0"], "workers=0: must be a whole number at least 1"),
        (["workers=two"], "workers=two: must be a whole number"),
        (["sampler=sobol"], "sampler=sobol: must be one of grid, random, tpe"),
        (["sampler=tpe"], "trials=null: sampler=tpe needs a number of points; add trials=NUMBER"),
        (["seeds=[]"], "needs a key in space, and one seed or more"),
        (["seeds=[1,1]"], "none of them twice"),
        (["seed=1"], r"seed=1: a study has several seeds; write seeds=\[1\]"),
        (["seeds=0,1"], r"seeds=0,1: a list is needed; write seeds=\[0,1\]"),
        (["minimize_parameters=true", "pruner=median"], "pruner=median with minimize_parameters=true"),
        (["lora.rr=1"], r"there is no key lora\.rr \(did you mean lora\.r\?\)"),
        (["dir="], "dir=''"),
        (["dir=/dev/null/x"], "dir=/dev/null/x: /dev/null is not a directory in which files can be written"),
        (["trainer.devices=2"], "trainer.devices=2: a run of a sweep uses one device"),
        (["lora.r=1,2"], r"lora\.r=1,2: a study varies the keys of its space.* python train\.py -m lora\.r=1,2"),
    ],
    ids=str,
)
def test_a_bad_override_of_a_study_is_refused(lines: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        compose_study(["study=smoke", *lines])


def test_experiments_and_studies_of_the_user_are_composed_at_any_depth(own_files: str) -> None:
    with hydra_initialized(own_files):
        config = compose_config(["experiment=mine"])
        assert (config.seed, config.model.lora.r, config.model.name) == (3, 5, "tiny")
        with hydra_initialized():
            assert compose_study(["study=mine"]).overrides == ["experiment=short"]
    with pytest.raises(UserError, match="experiment=mine: must be one of"):
        compose_config(["experiment=mine"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("experiment=mne", r"must be one of best, .*mine.*did you mean mine\?"),
        ("experiment=nested", r"experiment/nested\.yaml: its first line must be '# @package _global_'"),
        (
            "experiment=typo",
            r"experiment/typo\.yaml: there is no key optim\.learning_rate .*optim\.lr",
        ),
    ],
)
def test_a_mistake_in_a_file_of_the_user_is_named(own_files: str, override: str, message: str) -> None:
    with hydra_initialized(own_files), pytest.raises(UserError, match=message):
        compose_config([override])


def test_a_short_key_that_a_file_of_the_user_would_hide_is_refused(own_files: str) -> None:
    with hydra_initialized(own_files):
        assert compose_config(["experiment=mine", "lora.r=5"]).model.lora.r == 5
        assert compose_config(["experiment=mine", "model.lora.r=2"]).model.lora.r == 2
        with pytest.raises(UserError, match=r"lora\.r=2: has no effect, because model\.lora\.r=5 is set; write model"):
            compose_config(["experiment=mine", "lora.r=5,2"], multirun=True)
    with pytest.raises(UserError, match=r"lora\.r=1: has no effect, because model\.lora\.r=2 is set"):
        compose_config(["lora.r=2", "model.lora.r=2", "lora.r=1"])
