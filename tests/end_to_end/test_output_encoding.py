"""A terminal that can't show a character, or is gone, does not end a command or a run."""

from pathlib import Path

from lora_agnews.results.record import RunResult
from tests.commands import SHORT, run_python
from tests.records import save_record


def test_a_character_that_the_terminal_can_not_show_is_replaced(tmp_path: Path) -> None:
    for name in ("naïve – ✓ run", "second – ✓ run"):
        save_record(tmp_path / name, 0.9, f"lora.r={len(name)}", f'logger.tags=["{name}"]')
    done = run_python("-m", "lora_agnews", "compare", str(tmp_path), PYTHONIOENCODING="latin-1")
    assert done.returncode == 0, done.stderr
    assert "0.9000" in done.stdout


def test_a_run_ends_well_although_its_output_is_full(tmp_path: Path) -> None:
    command = f"import sys, runpy; sys.stdout = open('/dev/full', 'w'); sys.argv = {['train.py', *SHORT]!r}"
    command += f" + ['hydra.run.dir={tmp_path}/run']; runpy.run_path('train.py', run_name='__main__')"
    run_python("-c", command)
    assert RunResult.load(tmp_path / "run").status == "finished"


def test_a_command_without_standard_output_ends_well(tmp_path: Path) -> None:
    save_record(tmp_path / "run", 0.9)
    for options in ([], ["--csv"]):
        command = f"import sys, runpy; sys.stdout, sys.argv = None, {['', 'compare', str(tmp_path), *options]!r}"
        done = run_python("-c", command + "; runpy.run_module('lora_agnews', run_name='__main__')")
        assert (done.returncode, done.stderr) == (0, "")
