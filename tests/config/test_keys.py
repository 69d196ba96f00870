"""The keys of a command line come from the schema and the files of conf/."""

from lora_agnews.config.compose import hydra_initialized
from lora_agnews.config.keys import ALIASES, GROUPS, RULES, STUDIES, STUDY_RULES, choices_of, keys_set_by
from lora_agnews.config.scripts import CONF


def test_lora_is_the_alias_of_model_lora_and_of_nothing_else() -> None:
    assert ALIASES["lora.r"] == "model.lora.r"
    assert set(ALIASES.values()) == {key for key in RULES if key.startswith("model.lora.")}
    assert set(ALIASES) == {f"lora.{key.removeprefix('model.lora.')}" for key in ALIASES.values()}
    assert "lora" not in RULES


def test_groups_and_studies_are_the_files_of_conf() -> None:
    assert GROUPS.keys() == {"data", "debug", "experiment", "model"}
    for group, names in GROUPS.items():
        assert [(CONF / group / f"{name}.yaml").is_file() for name in names] == [True] * len(names)
    assert {"rank", "heads", "smoke"} <= set(STUDIES)
    assert not set(RULES) & set(STUDY_RULES), "sweep.py tells keys of a study from keys of a run by their names"


def test_the_keys_that_a_file_sets_are_named_in_full() -> None:
    assert keys_set_by("model", "tiny") == {"model.name"}
    assert {"data.source"} == keys_set_by("data", "sample")
    assert {"model.lora.r", "optim.lr", "trainer.max_epochs"} <= keys_set_by("experiment", "quickstart")
    assert {"debug", "trainer.max_steps"} <= keys_set_by("debug", "fast")


def test_files_of_the_user_are_choices_while_hydra_knows_their_directory(own_files: str) -> None:
    with hydra_initialized(own_files):
        assert set(GROUPS["experiment"]) | {"mine", "short"} <= set(choices_of("experiment"))
        assert {"mine", *STUDIES} == set(choices_of("study"))
        assert keys_set_by("experiment", "mine") == {"seed", "model.lora.r"}
        assert keys_set_by("experiment", "short") == {"model.lora.alpha"}
    assert choices_of("experiment") == GROUPS["experiment"]
