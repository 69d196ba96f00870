"""W&B online or offline: what is opened for each mode, login and server. Never a question, never a long wait."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from lora_agnews.training.wandb_run import log_leaderboard
from tests.wandb_runs import CLOSED, log_in, records, track


class Refuses(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """No line of each request."""


@pytest.fixture
def refusing() -> Iterator[str]:
    """The address of a W&B server that knows no key."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_unreachable_server_means_offline_and_one_note(
    tmp_path: Path, no_login: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    log_in(no_login, CLOSED)
    assert track(tmp_path / "run", "auto")["W&B"] == "offline"
    assert capfd.readouterr().err.splitlines() == [f"note: {CLOSED} does not answer: W&B logs offline"]


def test_a_malformed_key_means_offline_and_one_note(
    tmp_path: Path, no_login: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    log_in(no_login, CLOSED, key="short")
    assert track(tmp_path / "run", "auto")["W&B"] == "offline"
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("note: WANDB_API_KEY invalid")


def test_a_server_that_opens_no_run_means_offline_and_one_note(
    tmp_path: Path, no_login: pytest.MonkeyPatch, refusing: str, capfd: pytest.CaptureFixture[str]
) -> None:
    log_in(no_login, refusing)
    assert track(tmp_path / "run", "auto")["W&B"] == "offline"
    assert capfd.readouterr().err.count("note: W&B opened no run") == 1


@pytest.mark.parametrize("wanted", ["online", "auto"])
def test_wandb_mode_of_the_environment_counts_for_auto_only(
    tmp_path: Path, no_login: pytest.MonkeyPatch, wanted: str
) -> None:
    no_login.setenv("WANDB_MODE", "offline")
    if wanted == "auto":
        assert track(tmp_path / "run", wanted)["W&B"] == "offline"
    else:
        with pytest.raises(RuntimeError, match=r"logger\.wandb=online"):
            track(tmp_path / "run", wanted)


def test_online_without_a_server_is_an_error_with_the_remedy(tmp_path: Path, no_login: pytest.MonkeyPatch) -> None:
    log_in(no_login, CLOSED)
    with pytest.raises(RuntimeError, match=f"logger.wandb=online: {CLOSED} does not answer.*logger.wandb=offline"):
        track(tmp_path / "run", "online")


def test_online_with_a_key_the_server_refuses_is_an_error_with_the_remedy(
    tmp_path: Path, no_login: pytest.MonkeyPatch, refusing: str
) -> None:
    log_in(no_login, refusing)
    with pytest.raises(RuntimeError, match=r"logger\.wandb=online: W&B opened no run.*wandb login"):
        track(tmp_path / "run", "online")


def test_online_without_a_login_is_an_error_with_the_remedy(tmp_path: Path, no_login: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="not logged in to W&B; run `wandb login`"):
        track(tmp_path / "run", "online")


def test_the_leaderboard_is_in_the_group_that_the_runs_have(tmp_path: Path, no_login: pytest.MonkeyPatch) -> None:
    log_leaderboard(tmp_path, {"wandb": "offline", "project": None, "group": "mine"}, [["n"], [1]])
    assert [each["run"]["run_group"] for each in records(tmp_path) if "run" in each] == ["mine"]
