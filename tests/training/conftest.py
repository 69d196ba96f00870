"""A process without a W&B login."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
from wandb.sdk.lib import wbauth

# In this process: what `tracking` decides.


@pytest.fixture
def no_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A process without a login and without W&B's environment variables, which the test may set."""
    wandb.teardown()  # what an earlier test of this process has left: its service, its server
    for name in os.environ:
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    yield monkeypatch
    wandb.teardown()
    wbauth.unauthenticate_session(update_settings=False)
