"""The keys of a command line come from the schema and the files of conf/."""

from lora_agnews.config.keys import ALIASES, GROUPS, RULES, STUDIES, STUDY_RULES, keys_set_by
from lora_agnews.config.scripts import CONF


def test_lora_is_the_alias_of_model_lora_and_of_nothing_else() -> None:
    assert ALIASES["lora.r"] == "model.lora.r"
    assert set(ALIASES.values()) == {key for key in RULES if key.startswith("model.lora.")}
    assert set(ALIASES) == {f"lora.{key.removeprefix('model.lora.')}" for key in ALIASES.values()}
    assert "lora" not in RULES


def test_groups_and_studies_are_the_files_of_conf() -> None:
    assert GROUPS.keys() == {"data", "experiment", "model"}
    for group, names in GROUPS.items():
        assert [(CONF / group / f"{name}.yaml").is_file() for name in names] == [True] * len(names)
    assert {"rank", "heads", "smoke"} <= set(STUDIES)
    assert not set(RULES) & set(STUDY_RULES), "sweep.py tells keys of a study from keys of a run by their names"


def test_the_keys_that_a_file_sets_are_named_in_full() -> None:
    assert keys_set_by("model", "tiny") == {"model.name"}
    assert {"data.source"} == keys_set_by("data", "sample")
    assert {"model.lora.r", "optim.lr", "trainer.max_epochs"} <= keys_set_by("experiment", "quickstart")
