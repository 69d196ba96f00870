"""Fetching from the Hugging Face hub and uploading to it, with one clear error for everything that can go wrong."""

import contextlib
import itertools
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

from tests.commands import run_python
from tests.hub_commands import MODEL, WAYS_OUT, address, fetch
from tests.hub_server import COMMITS, TOKEN, HubServer

PUSH = """
import os, sys
from pathlib import Path
from lora_agnews.hub import push
for token, repo in (("hf_of_nobody", "me/news"), ("", "me/news"), (sys.argv[2], "me/too/many")):
    os.environ["HF_TOKEN"] = token
    try:
        push(Path(sys.argv[1]), repo, private=False, not_pushed="")
    except RuntimeError as error:
        print(error)
"""


def test_a_push_that_is_refused_says_why(tmp_path: Path) -> None:
    """A token that may not, none at all, and a name that can't be one."""
    with HubServer(tmp_path / "hub") as hub:
        places = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
        done = run_python("-c", PUSH, str(tmp_path), TOKEN, without=("HF_",), **places)
    refused, nobody, name = done.stdout.splitlines()
    for said in (refused, nobody):
        assert said.startswith("can't push to me/news: the hub refuses; log in with a token that may write there")
    assert name == "can't push to me/too/many: a name on the hub looks like owner/name"
    assert TOKEN not in done.stdout + done.stderr


def test_offline_mode_uses_the_cache(model_hub: HubServer, tmp_path: Path) -> None:
    first = fetch(tmp_path, model_hub.endpoint, MODEL)
    assert first.stdout.strip() == COMMITS["main"], first.stderr
    asked = len(model_hub.requests)
    done = fetch(tmp_path, model_hub.endpoint, MODEL, HF_HUB_OFFLINE="1")
    assert done.stdout.strip() == COMMITS["main"], done.stderr
    assert len(model_hub.requests) == asked


def test_offline_mode_without_a_cache_says_that_it_is_on(model_hub: HubServer, tmp_path: Path) -> None:
    done = fetch(tmp_path, model_hub.endpoint, MODEL, HF_HUB_OFFLINE="1")
    assert "OfflineModeIsEnabled" in done.stderr.splitlines()[-4]


def test_a_revision_that_does_not_exist_is_named(model_hub: HubServer, tmp_path: Path) -> None:
    done = fetch(tmp_path, model_hub.endpoint, MODEL, revision="v9")
    assert f"could not fetch the model {MODEL}: it has no revision v9" in done.stderr


def test_a_name_that_no_hub_could_have_is_refused(model_hub: HubServer, tmp_path: Path) -> None:
    done = fetch(tmp_path, model_hub.endpoint, "roberta base")
    assert "could not fetch the model roberta base: this is not a valid name of the hub" in done.stderr


def drip(server: socket.socket) -> None:
    """Answer one connection a letter a second: no read times out, and no answer is ever complete."""
    connection, _ = server.accept()
    with connection, contextlib.suppress(OSError):
        for letter in itertools.cycle(b"HTTP"):
            connection.send(bytes([letter]))
            time.sleep(1)


def test_a_hub_that_never_answers_completely_counts_as_unreachable(tmp_path: Path) -> None:
    began = time.monotonic()
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,  # takes connections and stays quiet
        socket.create_server(("127.0.0.1", 0)) as slow,
        ThreadPoolExecutor() as pool,
    ):
        Thread(target=drip, args=[slow], daemon=True).start()
        asked = [pool.submit(fetch, tmp_path, address(server), MODEL) for server in (silent, slow)]
        answers = [done.result().stderr for done in asked]
    assert time.monotonic() - began < 10
    for stderr in answers:
        assert "the hub can't be reached" in stderr
        assert all(way in stderr for way in WAYS_OUT)
