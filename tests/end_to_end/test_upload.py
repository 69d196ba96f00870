"""An export is uploaded to a hub, completely or with a message that says why not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import run_python
from tests.hub_server import TOKEN, HubServer


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    with HubServer(tmp_path / "hub") as server:
        yield server


def push(run_dir: Path, folder: Path, endpoint: str, token: str, repo: str = "me/news") -> Any:
    hub = {"HF_ENDPOINT": endpoint, "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(folder / "home")}
    line = ["-m", "lora_agnews", "export", str(run_dir), "-o", str(folder / "out"), "--format", "adapter"]
    return run_python(*line, "--push-to-hub", repo, "--private", without=("HF_",), **hub)


def test_an_export_is_uploaded_completely(run_dir: Path, hub: HubServer, tmp_path: Path) -> None:
    """In place of an older export, beside what else the repository has; export.json names folders and stays here."""
    there = hub.folder / "models" / "me" / "news"
    there.mkdir(parents=True)
    for name in ("model.safetensors", "config.json", "notes.md"):
        (there / name).write_text("old")
    done = push(run_dir, tmp_path, hub.endpoint, TOKEN)
    assert done.returncode == 0, done.stderr
    assert f"{hub.endpoint}/me/news" in done.stdout
    sent = {path.name: path.read_bytes() for path in there.iterdir()}
    made = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert sent == {name: made[name] for name in made if name != "export.json"} | {"notes.md": b"old"}
    assert hub.visibility["me/news"] == "private"
    assert "adapter_model.safetensors" in sent
    assert TOKEN not in done.stdout + done.stderr


def test_a_push_to_a_hub_out_of_reach_says_so_and_keeps_the_folder(run_dir: Path, tmp_path: Path) -> None:
    done = push(run_dir, tmp_path, "http://127.0.0.1:9", TOKEN)
    assert done.returncode == 1
    assert "can't push to me/news: the hub can't be reached" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out" / "export.json").exists()
