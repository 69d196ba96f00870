"""Hundreds of command lines that can't be used: one message each, status 2, and nothing is created."""

import os
import shutil
import sys
from pathlib import Path

import pytest

import sweep
from lora_agnews.config.command_line import check_command_line
from lora_agnews.errors import UserError
from tests.commands import command, run_python
from tests.faults.bad_inputs import COMMANDS, bad_lines, bad_studies

pytestmark = pytest.mark.faults
FEWEST = 300
AS_PROCESSES = ["hydra.verbose=[1]", "--config-name=foo", "lora.r=[1", "hydra.run.dir=/dev/null", "resume=NOWHERE"]


def refusal(arguments: list[str]) -> str:
    """Return what is wrong with the answer to a command line of train.py, or nothing."""
    try:
        check_command_line(arguments)
    except UserError as error:
        return "" if str(error).strip() and "\n" not in str(error) else f"message {error}"
    except BaseException as error:
        return repr(error)
    return "accepted"


def test_bad_command_lines_of_train_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = list(bad_lines())
    wrong = {" ".join(line): found for line in lines if (found := refusal(line))}
    with capfd.disabled():
        print(f"\nbad command lines of train.py: {len(lines)} run, {len(lines) - len(wrong)} refused in one line")
    assert not wrong, "\n".join(f"{line}: {found}" for line, found in wrong.items())
    assert len(lines) >= FEWEST
    assert list(tmp_path.iterdir()) == []


def test_bad_command_lines_of_sweep_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines, wrong = list(bad_studies()), {}
    for line in lines:
        monkeypatch.setattr(sys, "argv", ["sweep.py", "--plan", "study=smoke", *line])
        try:
            status = f"accepted ({sweep.main()})"
        except SystemExit as ended:
            status = str(ended.code)
        except BaseException as error:
            status = repr(error)
        said = capfd.readouterr().err
        if status != "2" or said.count("\n") != 1 or not said.startswith("error: "):
            wrong[" ".join(line)] = (status, said[-300:])
    with capfd.disabled():
        print(f"\nbad command lines of sweep.py: {len(lines)} run, {len(lines) - len(wrong)} refused in one line")
    assert not wrong, "\n".join(f"{line}: {found}" for line, found in wrong.items())
    assert list(tmp_path.iterdir()) == []


def test_bad_uses_of_the_commands_are_refused(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run_dir, tmp_path / "RUN")
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "rows.csv").write_text("text\nOil prices rise\n")
    (tmp_path / "rows.docx").write_text("text\n")
    os.mkfifo(tmp_path / "pipe")
    before, wrong = sorted(tmp_path.rglob("*")), {}
    for line in COMMANDS:
        done = command(*line.replace("HERE/", "").replace(" HERE", " .").split())
        broken = done.exception is not None and not isinstance(done.exception, SystemExit)
        if done.exit_code != 2 or broken or not done.stderr.strip():
            wrong[line] = (done.exit_code, done.exception, done.output[-300:])
    with capfd.disabled():
        print(f"\nbad uses of the commands: {len(COMMANDS)} run, {len(COMMANDS) - len(wrong)} refused with status 2")
    assert not wrong, "\n".join(f"{line}: {found}" for line, found in wrong.items())
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("line", AS_PROCESSES)
def test_the_real_command_refuses_them_too(line: str, tmp_path: Path) -> None:
    code = "import os, runpy, sys; os.chdir(sys.argv.pop(1)); script = sys.argv[1]; sys.argv = sys.argv[1:]"
    code += "; runpy.run_path(script, run_name='__main__')"
    done = run_python("-c", code, str(tmp_path), str(Path(sweep.__file__).with_name("train.py")), line)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert list(tmp_path.iterdir()) == []
