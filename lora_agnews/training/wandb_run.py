"""Open a W&B run online or offline. It never asks, and each wait has a limit. `wandb` is imported only if used."""

import os
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lora_agnews.config.choices import WandbMode
from lora_agnews.terminal.console import note

SECONDS_TO_ANSWER = 3  # a W&B server that takes longer counts as unreachable
SECONDS_TO_START = 15  # for W&B to open a run; offline it takes 0.5
SECONDS_TO_FINISH = 300  # for the last uploads; what is left stays on disk for `wandb sync`
PROJECT = "lora-agnews"  # if neither the configuration nor the environment names one
NOT_LOGGED_IN = "not logged in to W&B"


def open_wandb(mode: str, project: str | None, **run: Any) -> Any:
    """Open a W&B run, or return None if it is disabled. `run` are further arguments of wandb.init.

    If the mode is auto and the server opens no run, the run is logged offline.
    Raises: RuntimeError, if W&B is asked for and is not installed, not logged in or can't be reached.
    """
    available = _available_mode(mode)
    if available == WandbMode.DISABLED:
        return None
    import wandb

    run["project"] = project or os.environ.get("WANDB_PROJECT") or PROJECT
    settings = wandb.Settings(
        silent=True, console="off", init_timeout=SECONDS_TO_START, finish_timeout=SECONDS_TO_FINISH
    )
    try:
        return wandb.init(mode=str(available), settings=settings, **run)  # type: ignore[arg-type]
    except wandb.errors.CommError as error:
        _go_offline(mode, f"W&B opened no run: {error}".splitlines()[0])
        return wandb.init(mode="offline", settings=settings, **run)


def existing_wandb_run(folder: Path | None) -> dict[str, str]:
    """Return the arguments of wandb.init that continue the W&B run of a folder, if it has one."""
    folders = sorted((folder / "wandb").glob("*run-*-*")) if folder else []
    return {"id": folders[-1].name.rpartition("-")[2], "resume": "allow"} if folders else {}  # names end in the id


def log_leaderboard(folder: Path, logger: dict[str, Any], table: list[list[Any]]) -> None:
    """Log the leaderboard of a sweep, a header and its rows, as a table of one W&B run in the group of its runs.

    `logger` has the logging keys of one of them. Raises: RuntimeError, as `open_wandb`.
    """
    group = logger["group"] or folder.name
    about = {"entity": logger.get("entity"), "group": group, "name": "leaderboard", "job_type": "leaderboard"}
    run = open_wandb(logger["wandb"], logger["project"], dir=folder, **about, **existing_wandb_run(folder))
    if run is not None:
        import wandb

        header, *rows = table
        run.log({"leaderboard": wandb.Table(columns=header, data=rows)})
        run.finish()


def _available_mode(mode: str) -> WandbMode:
    """Return online, offline or disabled: `mode`, or what is available of it."""
    wanted, environment = WandbMode(mode), os.environ.get("WANDB_MODE")
    auto = wanted == WandbMode.AUTO
    if wanted == WandbMode.DISABLED or (auto and environment == WandbMode.DISABLED):
        return WandbMode.DISABLED
    if find_spec("wandb") is None:
        if auto:
            note("wandb is not installed: metrics go to metrics.csv only")
            return WandbMode.DISABLED
        raise RuntimeError(f"logger.wandb={mode}: wandb is not installed; pip install wandb, or logger.wandb=disabled")
    if wanted == WandbMode.OFFLINE or (auto and environment == WandbMode.OFFLINE):
        return WandbMode.OFFLINE
    import wandb

    server, problem = str(wandb.setup(wandb.Settings(silent=True)).settings.base_url), ""
    try:
        if not wandb.login(prompt=False, verify=False):  # looks for a key and asks neither the user nor the server
            problem = NOT_LOGGED_IN
        elif not _answers(server):
            problem = f"{server} does not answer"
    except wandb.errors.AuthenticationError as error:  # a key of the wrong form
        problem = str(error)
    if not problem:
        return WandbMode.ONLINE
    _go_offline(mode, problem)
    return WandbMode.OFFLINE


def _go_offline(mode: str, problem: str) -> None:
    """Print a note where the user expects to be online. Raises: RuntimeError, if online was asked for."""
    if mode == WandbMode.ONLINE:
        raise RuntimeError(f"logger.wandb=online: {problem}; run `wandb login`, or use logger.wandb=offline")
    if problem != NOT_LOGGED_IN:
        note(f"{problem}: W&B logs offline")


def _answers(server: str) -> bool:
    parts = urlsplit(server)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=SECONDS_TO_ANSWER).close()
    except OSError:
        return False
    return True
