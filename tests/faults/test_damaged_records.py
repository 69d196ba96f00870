"""Each file of a run, damaged in several ways: every command answers with one message and never with a traceback."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_agnews.config.command_line import check_command_line
from lora_agnews.config.compose import load_config_file
from lora_agnews.config.resume import resumed_config
from lora_agnews.sweeps.progress import SweepProgress, conclude
from lora_agnews.terminal.console import exit_on_error
from lora_agnews.training.run import run
from tests.commands import command
from tests.records import save_record

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")]
FILES = [
    "result.json", "config.yaml", "metrics.csv", "checkpoints/last.ckpt", "checkpoints/best.ckpt",
    "adapter/adapter_config.json", "adapter/adapter_model.safetensors",
]  # fmt: skip
WAYS: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "flipped": lambda content: bytes(byte ^ (number % 101 == 50) for number, byte in enumerate(content)),
    "overwritten": lambda content: b"\xff\x00nonsense" * 99,
    "of another type": lambda content: re.sub(rb"(: |,)[0-9.]+", rb'\1"text"', content),
    "a list": lambda content: b"[1, 2]\n",
}
USES = ("evaluate", "resume", "compare", "report", "multirun")


def resume(folder: Path) -> int:
    """Continue the run as if it had been interrupted, and return the exit status."""
    record = folder / "result.json"
    record.write_bytes(record.read_bytes().replace(b'"status": "finished"', b'"status": "interrupted"'))
    check_command_line([f"resume={folder}"])
    return int(not run(resumed_config(str(folder), []), folder).succeeded)


def multirun(folder: Path, intact: Path) -> int:
    """Go through the points of a sweep, of which one is damaged."""
    progress, other = SweepProgress(folder.parent, 2), folder.parent / "intact"
    for run_dir, original in ((folder, intact), (other, other)):
        progress.run(load_config_file(original / "config.yaml"), run_dir)
    return conclude(folder.parent)[1]


def use(name: str, folder: Path, rows: Path, intact: Path) -> int | str:
    """Return the exit status of a use of the run, or what went wrong."""
    if name in ("evaluate", "compare", "report"):
        more = {
            "evaluate": [folder, rows],
            "compare": [folder.parent],
            "report": [folder.parent, "-o", rows.with_suffix(".html")],
        }
        done = command(name, *more[name])
        return done.exit_code if isinstance(done.exception, SystemExit | None) else repr(done.exception)
    try:
        with exit_on_error():
            return multirun(folder, intact) if name == "multirun" else resume(folder)
    except SystemExit as ended:
        return int(ended.code or 0)
    except Exception as error:
        return repr(error)


@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_of_a_run_is_one_message(
    file: str, run_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\nOil prices rise,2\nTalks resume,0\nGoal,1\nA new phone,3\n")
    found, wrong = Counter[str](), []
    for way, damage in WAYS.items():
        for name in USES:
            folder = Path(shutil.copytree(run_dir, tmp_path / way / name / "damaged"))
            save_record(folder.parent / "intact", 0.75, "seed=1", "logger.wandb=disabled")
            (folder / file).write_bytes(damage((folder / file).read_bytes()))
            capfd.readouterr()
            status = use(name, folder, rows, run_dir)
            out, err = capfd.readouterr()
            found[f"{name} {status}"] += 1
            stops = name in ("compare", "report") or (name == "multirun" and file != "result.json")
            if status not in (0, 1, 2) or "Traceback" in out + err or (stops and status != 0):
                wrong.append(f"{file} {way}, {name}: {status} {err[-200:]}")
            if name == "multirun" and "0.7500" not in out:
                wrong.append(f"{file} {way}, {name}: the other run is not ranked")
    with capfd.disabled():
        counts = json.dumps(dict(sorted(found.items()))).replace('"', "")
        print(f"\ndamaged {file}: {sum(found.values())} uses, {len(wrong)} without an answer; exit statuses {counts}")
    assert not wrong, "\n".join(wrong)
