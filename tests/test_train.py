"""The command line of train.py: bad ones create nothing, and --help and --cfg only print."""

import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import yaml

from lora_agnews.config.help import help_text
from tests.commands import ROOT, compose_line
from tests.files_of_rows import GOOD
from tests.messages import check_message

# The real command, from a folder that holds an empty one, and what the message must contain.
BAD_COMMANDS: list[tuple[str, list[str]]] = [
    ("lora.rr=1", ["lora.rr", "did you mean lora.r?"]),
    ("-m lora.r=1,2,x", ["model.lora.r=x", "whole number"]),
    ("--resum=x", ["--resum", "--help"]),
    ("experiment=quickstart data.train_file=../rows.csv", ["rows.csv", "row 5", "label 9"]),
    ("experiment=quickstart hydra.run.dir=kept/run data.max_length=8192", ["data.max_length=8192", "use at most"]),
]


HELP = "--help"


CONFIG = "experiment=lean lora.r=3 --cfg job --resolve"


@dataclass
class Ended:
    """The outcome of a command, and the files in its folder afterwards."""

    status: int
    out: str
    err: str
    left: list[str]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """The commands by their lines, two at a time."""
    home = tmp_path_factory.mktemp("commands")
    (home / "rows.csv").write_bytes(GOOD + b"news,9\n")
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}

    def run(numbered: tuple[int, str]) -> Ended:
        folder = home / str(numbered[0])
        (folder / "kept").mkdir(parents=True)
        command = [sys.executable, str(ROOT / "train.py"), *shlex.split(numbered[1])]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
        left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
        return Ended(done.returncode, done.stdout, done.stderr, left)

    lines = [*(line for line, _ in BAD_COMMANDS), HELP, CONFIG]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(lines, pool.map(run, enumerate(lines)), strict=True))


@pytest.mark.parametrize(("line", "fragments"), BAD_COMMANDS, ids=[line for line, _ in BAD_COMMANDS])
def test_a_bad_command_ends_with_status_2_and_one_message_and_creates_nothing(
    line: str, fragments: list[str], ended: dict[str, Ended]
) -> None:
    command = ended[line]
    assert (command.status, command.out, command.left) == (2, "", ["kept"])
    assert command.err.startswith("error: ")
    check_message(command.err.removesuffix("\n"), fragments)


def test_the_help_is_printed_and_creates_nothing(ended: dict[str, Ended]) -> None:
    assert ended[HELP] == Ended(0, help_text(compose_line("")) + "\n", "", ["kept"])


def test_hydra_shows_the_resolved_config_and_creates_nothing(ended: dict[str, Ended]) -> None:
    command = ended[CONFIG]
    assert (command.status, command.err, command.left) == (0, "", ["kept"])
    shown = yaml.safe_load(command.out)
    assert shown["model"]["lora"]["r"] == shown["lora"]["r"] == 3
    assert shown["model"]["head"] == "lora"
