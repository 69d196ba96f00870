"""The model card escapes every value that comes from a record: it may be somebody else's."""

import re
import shutil
from pathlib import Path

from lora_agnews.inference.classifier import open_run
from lora_agnews.inference.model_card import write_card

HOSTILE = "<script>alert(1)</script> [link](http://x.y) | `code`"


def test_no_value_of_a_record_becomes_markup(run_dir: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run_dir, tmp_path / "a [b](http:) <i>")
    run = open_run(folder)
    result = run.result
    result.environment |= {"git_commit": HOSTILE, "device": HOSTILE, "precision": HOSTILE}
    result.environment["versions"]["lora_agnews"] = HOSTILE
    result.data |= {"source": HOSTILE, "model": f"folder:{HOSTILE}"}
    result.config_hash = HOSTILE
    run.config.model.lora.target_modules = [HOSTILE]
    (tmp_path / "card").mkdir()
    write_card(run, tmp_path / "card", usage="", library="peft", more={"weights": HOSTILE})
    card = (tmp_path / "card" / "README.md").read_text()
    assert "<script>" not in card
    assert "<i>" not in card
    assert not re.search(r"(?<!\\)\]\(", card), "no link"
    rows = [line for line in card.splitlines() if line.startswith("| ")]
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in rows), rows
