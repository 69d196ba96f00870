"""Memory does not grow with the number of rows, texts or runs."""

import csv
import gzip
import os
from itertools import cycle
from pathlib import Path

import pytest

from lora_agnews.config.compose import compose_config
from lora_agnews.sweeps.progress import SweepProgress
from tests.commands import ROOT, run_python

PEAK = """
import re, sys
from pathlib import Path
from lora_agnews.__main__ import app
try:
    app(sys.argv[1:])
finally:
    # ru_maxrss would begin with the memory of the process that started this one
    print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(run_dir: Path, tmp_path: Path) -> None:
    """MiB at the peak: five times the rows, the same windows."""
    peaks = []
    for rows in (12_000, 60_000):
        with (tmp_path / "news.csv").open("w") as stream:
            stream.write("text\n")
            stream.writelines(f"row {i} of the news of the day\n" for i in range(rows))
        done = run_python("-c", PEAK, "predict", str(run_dir), str(tmp_path / "news.csv"), "-o", str(tmp_path / "out"))
        assert f"{rows:,} rows" in done.stdout.replace("\n", ""), done.stderr
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 30, peaks


@pytest.mark.slow
def test_memory_does_not_grow_over_thirty_points(short_run: list[str], tmp_path: Path) -> None:
    board, resident = SweepProgress(tmp_path, 34), []
    for seed in range(34):
        config = compose_config([*short_run, f"seed={seed}"])
        board.run(config, tmp_path / str(seed))
        resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    assert resident[-1] - resident[3] < 30 * 2**20, [round(each / 2**20) for each in resident]


MEMORY = """
import resource, sys
from pathlib import Path
import lora_agnews.training.fit
from lora_agnews.config.compose import compose_config
from lora_agnews.training.run import run

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

imported = peak()
run_dir = Path(sys.argv[1])
run_dir.mkdir()
result = run(compose_config(sys.argv[2:]), run_dir)
print(result.status, result.data["train"], peak() - imported)
"""


@pytest.mark.slow
def test_as_many_rows_as_ag_news_take_less_than_1_2_gib(tmp_path: Path) -> None:
    """68,718 rows as long as real ones, the first start: read, split, tokenised, trained on."""
    with gzip.open(ROOT / "lora_agnews" / "data" / "sample" / "train.csv.gz", "rt", newline="") as stream:
        header, *sample = csv.reader(stream)
    with (tmp_path / "many.csv").open("w", newline="") as stream:
        file = csv.writer(stream)
        file.writerow(header)
        file.writerows([*row[:-1], f"{row[-1]} {i}"] for i, row in zip(range(68_718), cycle(sample), strict=False))
    overrides = ["model=tiny", f"data.train_file={tmp_path}/many.csv", f"data.cache_dir={tmp_path}/cache"]
    overrides += ["trainer.max_steps=60", "trainer.precision=32-true", "logger.wandb=disabled"]
    done = run_python("-c", MEMORY, str(tmp_path / "run"), *overrides)
    assert done.returncode == 0, done.stderr[-2000:]
    status, rows, grown = done.stdout.split()[-3:]
    assert (status, int(rows)) == ("finished", 61_848)
    assert int(grown) < 1.2 * 2**30
