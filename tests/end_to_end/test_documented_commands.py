"""The commands of docs/ run."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.commands import ROOT, command
from tests.files_of_rows import (
    PICKLES,
    TEST_TEXTS,
    write_lines,
)


def test_the_commands_of_the_inference_page_run(
    run_dir: Path, other_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All commands of docs/inference.md except the page, ONNX and the upload, which have tests of their own."""
    section = (ROOT / "docs" / "inference.md").read_text()
    said = [line.partition("#")[0].split() for line in section.splitlines() if line.startswith("python -m lora_agnews")]
    assert {words[3] for words in said} == {"evaluate", "predict", "export", "demo"}
    texts = [text.replace("\n", " ") for text in TEST_TEXTS[:20]]
    monkeypatch.chdir(tmp_path)
    shutil.copy(PICKLES / "datasets-3.5.pkl", "test_unlabelled.pkl")
    write_lines(Path("news.txt"), texts)
    Path("news.csv").write_text("text\n" + "\n".join(json.dumps(text.replace('"', "")) for text in texts))
    Path("news.jsonl").write_text("\n".join(json.dumps({"headline": text}) for text in texts))
    Path("labelled.csv").write_text("text,label\n" + "\n".join(f"{word},{i % 4}" for i, word in enumerate("abcdefgh")))
    places = {"RUN_DIR": str(shutil.copytree(run_dir, tmp_path / "run")), "RUN_DIR2": str(other_run)}
    ran = 0
    for words in said:
        if {"demo", "onnx", "--push-to-hub"} & set(words):
            continue
        stdin = Path("news.txt").read_bytes() if "<" in words else None
        words = words[: words.index("<")] if "<" in words else words
        done = command(*(places.get(word, word) for word in words[3:]), stdin=stdin)
        assert done.exit_code == 0, (words, done.output)
        ran += 1
    assert ran == 8
    for left in ("submission.csv", "labels.csv", "missed.csv", "news-classifier/README.md", "news-adapter/README.md"):
        assert Path(left).stat().st_size > 10, left
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    exec(code.replace("RUN_DIR", places["RUN_DIR"]), {})
