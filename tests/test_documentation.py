"""The documentation agrees with the code."""

import re

from lora_agnews.config.compose import compose_config
from lora_agnews.config.rules import config_keys, describe_allowed, to_override
from tests.commands import ROOT


def test_the_readme_tells_every_key_with_its_default_and_rule() -> None:
    readme = (ROOT / "README.md").read_text()
    for key, spec, value in config_keys(compose_config([])):
        row = f"| `{key}` | `{to_override(value)}` | {spec.metadata['meaning']} | {describe_allowed(spec)} |"
        assert row in readme, row


def test_the_readmes_files_exist() -> None:
    for link in re.findall(r"\]\(([\w./-]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / link).exists(), link
