"""Lines are never wrapped, errors are one message with a status, and nothing temporary stays without a terminal."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from rich.console import Console

from lora_agnews.errors import UserError
from lora_agnews.terminal import console
from tests.commands import run_python
from tests.terminal.conftest import MakeConsole

LONG = "/a/long/path " * 12 + "[with] brackets"


@pytest.mark.parametrize("terminal", [False, True])
def test_a_line_is_never_wrapped_and_brackets_are_kept(replace_console: MakeConsole, terminal: bool) -> None:
    stream = replace_console(terminal=terminal)
    console.print_line(LONG)
    assert stream.getvalue().replace("\x1b[2K", "") == f"{LONG}\n"


def test_a_temporary_line_is_erased_by_the_next_one_on_a_terminal(replace_console: MakeConsole) -> None:
    stream = replace_console(terminal=True)
    console.print_temporarily("[1/2] r=1")
    console.print_line("done")
    assert stream.getvalue() == "[1/2] r=1\r\x1b[2Kdone\n"


def test_a_temporary_line_is_cropped_to_the_terminal(replace_console: MakeConsole) -> None:
    stream = replace_console(terminal=True, width=20)
    console.print_temporarily("x" * 50)
    assert stream.getvalue() == "x" * 20 + "\r"


def test_without_a_terminal_nothing_temporary_is_printed(replace_console: MakeConsole) -> None:
    out, err = replace_console("out"), replace_console("err")
    console.print_temporarily("[1/2] r=1")
    assert list(console.track_steps([1, 2], "working")) == [1, 2]
    with console.progress_bar("rows", 10) as done:
        done(5)
    assert out.getvalue() == err.getvalue() == ""


def test_a_live_line_is_printed_once_without_a_terminal_with_its_last_text(replace_console: MakeConsole) -> None:
    stream, texts = replace_console(), iter(f"{number}/4 done" for number in range(100))
    with console.live_line(lambda: next(texts)):
        pass
    assert stream.getvalue().count("done") == 1


def test_notes_go_to_standard_error_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    console.note(LONG)
    assert capfd.readouterr() == ("", f"note: {LONG}\n")


def test_quiet_output_suppresses_results_and_errors_and_keeps_notes(capfd: pytest.CaptureFixture[str]) -> None:
    with console.quiet_output():
        console.print_line("a result")
        console.print_error("an error")
        console.note("a note")
    console.print_line("later")
    assert capfd.readouterr() == ("later\n", "note: a note\n")


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError("lora.r=x: must be a number"), 2, "error: lora.r=x: must be a number\n"),
        (RuntimeError("no network"), 1, "error: no network\n"),
        (PermissionError(13, "Permission denied", "/x"), 1, "error: [Errno 13] Permission denied: '/x'\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_is_one_message_and_a_status(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: int,
    message: str,
) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(SystemExit) as caught, console.exit_on_error():
        raise error
    assert caught.value.code == status
    assert capfd.readouterr() == ("", message)


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), console.exit_on_error():
        raise ZeroDivisionError


def test_hydra_full_error_shows_the_traceback_of_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(UserError), console.exit_on_error():
        raise UserError("x")


PRINT_MUCH = """
from lora_agnews.terminal import console
with console.exit_on_error():
    for number in range(100_000):
        console.print_data(f"{number}\\n")
"""


def test_a_reader_that_has_seen_enough_ends_a_command_without_a_message() -> None:
    command = [sys.executable, "-c", PRINT_MUCH]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as printing:
        assert printing.stdout is not None
        assert printing.stderr is not None
        assert printing.stdout.readline() == "0\n"
        printing.stdout.close()
        assert printing.stderr.read() == ""
        assert printing.wait(timeout=60) == 1


SILENT = """
from lora_agnews.terminal import console
console.silence()
console.print_line("a line"), console.note("a note"), console.print_error("an error")
"""


def test_a_worker_rank_says_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SILENT], capture_output=True, text=True, env=os.environ, cwd=tmp_path, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_a_notebook_shows_bars_if_it_has_ipywidgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "err", Console(force_jupyter=True))
    assert console.shows_bars() == (find_spec("ipywidgets") is not None)


def test_a_command_that_a_notebook_starts_shows_no_bars() -> None:
    """Jupyter asks for colours, so rich takes its output for a terminal."""
    shown = "from lora_agnews.terminal import console; print(console.err.is_terminal, console.shows_bars())"
    assert run_python("-c", shown, JPY_PARENT_PID="1", FORCE_COLOR="1").stdout == "True False\n"
