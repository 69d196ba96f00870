"""Values of a run that depend on each other, and its plain form."""

from lora_agnews.budget import HARD_LIMIT, MAX_RANK
from lora_agnews.config.compose import compose_config
from lora_agnews.config.keys import RULES
from lora_agnews.labels import AG_NEWS


def test_a_training_file_sets_the_source() -> None:
    config = compose_config(["data.train_file=rows.csv"])
    assert (config.data.source, config.data.test_file) == ("files", None)


def test_the_name_of_a_data_set_sets_the_source() -> None:
    config = compose_config(["data=sample", "data.name=me/news"])
    assert (config.data.source, config.data.name) == ("hub", "me/news")
    assert compose_config(["data=sample", f"data.name={AG_NEWS}"]).data.source == "sample"


def test_target_modules_may_be_a_text_with_commas() -> None:
    assert compose_config([]).model.lora.target_modules == ["query", "value", "classifier.dense"]


def test_plain_values_have_each_key_once_and_neither_the_alias_nor_resume() -> None:
    values = compose_config(["model=tiny"]).to_dict()
    assert values["model"]["lora"]["r"] == 1
    assert not {"lora", "resume"} & set(values)


def test_the_rules_are_those_of_the_budget() -> None:
    assert RULES["budget.max_trainable"].metadata["high"] == HARD_LIMIT == 1_000_000
    assert RULES["model.lora.r"].metadata["high"] == MAX_RANK
