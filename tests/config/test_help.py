"""The help and the tables of docs/ are generated from the schema."""

from lora_agnews.config.help import help_text
from lora_agnews.config.keys import RULES
from tests.commands import compose_line


def test_the_help_names_every_key_with_its_value_and_rule_within_80_columns() -> None:
    text = help_text(compose_line("experiment=lean"))
    assert all(f"  {key}=" in text for key in RULES)
    assert "  model.lora.r=2\n" in text
    assert "  model.revision=null\n" in text
    assert "experiment=best|laptop|lean|quickstart|seed" in text
    assert "above 0 and at most 10" in text
    assert max(map(len, text.splitlines())) <= 80
