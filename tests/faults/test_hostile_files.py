"""Files that try to run code or to exhaust the machine: none is executed, each costs little memory and time."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from lora_agnews.errors import UserError
from tests.commands import run_python
from tests.faults.hostile_files import files_of_rows, files_of_runs

pytestmark = pytest.mark.faults
MOST_MEGABYTES, MOST_SECONDS, FEWEST = 500, 5, 50
READ = """
import json, sys
from pathlib import Path
from tests.faults.processes import in_child
if sys.argv[1] == "rows":
    from lora_agnews.data.source import read_texts
    def act(path):
        for _ in read_texts(path): pass
else:
    from lora_agnews.config.resume import resumed_config
    from lora_agnews.inference.classifier import load_classifier, open_run
    from lora_agnews.training.checkpoint import read_checkpoint
    def act(path):
        resumed_config(str(path), [])
        read_checkpoint(path / "checkpoints" / "last.ckpt", {})
        load_classifier([open_run(path)])
def answer(path):
    try:
        act(path)
        print("accepted")
    except Exception as error:
        print("\\n" + type(error).__name__, str(error)[:300])
for line in sys.argv[3:]:
    log = Path(sys.argv[2])
    ended = in_child(lambda: answer(Path(line)), log)
    print(json.dumps([line, log.read_text(errors="replace").strip(), *ended]))
"""


def check(kind: str, paths: list[Path], proof: Path) -> tuple[list[str], str]:
    """Read each file in a process of its own. Return what is wrong, and the most memory and time in words."""
    done = run_python("-c", READ, kind, str(proof.parent / "log"), *map(str, paths))
    assert done.returncode == 0, done.stderr
    wrong, memory, time = [], 0.0, 0.0
    for line in done.stdout.splitlines():
        name, said, status, seconds, megabytes = json.loads(line)
        memory, time = max(memory, megabytes), max(time, seconds)
        refused = status == 0 and UserError.__name__ in [line.split()[0] for line in said.splitlines() if line.split()]
        if not refused or megabytes > MOST_MEGABYTES or seconds > MOST_SECONDS:
            wrong.append(f"{Path(name).name}: {said[-200:]}, status {status}, {seconds:.1f} s, {megabytes:.0f} MB")
    return wrong, f"at most {memory:.0f} MB and {time:.1f} s"


def test_hostile_files_of_rows_and_of_runs_are_refused(
    run_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    proof = tmp_path / "executed"
    (tmp_path / "keep").touch()
    rows, runs = [], []
    for name, write in files_of_rows(proof).items():
        rows.append(tmp_path / name)
        write(rows[-1])
    for name, (inner, write) in files_of_runs(proof).items():
        runs.append(Path(shutil.copytree(run_dir, tmp_path / name)))
        write(runs[-1] / inner)
    wrong, cost = check("rows", rows, proof)
    wrong_runs, cost_of_runs = check("runs", runs, proof)
    with capfd.disabled():
        print(
            f"\nhostile files: {len(rows)} of rows, {cost}; {len(runs)} of run directories, {cost_of_runs} with torch"
        )
    assert not wrong + wrong_runs, "\n".join(wrong + wrong_runs)
    assert len(rows) + len(runs) >= FEWEST
    assert not proof.exists()
    assert (tmp_path / "keep").exists()
    assert sys.getrecursionlimit() < 5000
