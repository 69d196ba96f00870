"""Hydra's callback for `train.py -m`: it names the runs, shows the progress, and ranks the runs at the end."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from lora_agnews.config.choices import SweepTest
from lora_agnews.config.hydra_job import directories
from lora_agnews.config.messages import quote
from lora_agnews.config.points import varying_keys
from lora_agnews.config.schema import TrainConfig
from lora_agnews.errors import RunLocked, UserError
from lora_agnews.results.monitor import MONITOR
from lora_agnews.results.record import RunResult
from lora_agnews.sweeps.point import run_point
from lora_agnews.sweeps.progress import SweepProgress, conclude
from lora_agnews.terminal.console import exit_on_error
from lora_agnews.training.reuse import check_configuration, check_rows


def run_in_multirun(config: TrainConfig, run_dir: Path, sweep_dir: Path) -> float | None:
    """Run one point of a multirun and return its monitored metric, or None without one.

    Raises: KeyboardInterrupt, after the runs so far have been ranked: Hydra then does not call `on_multirun_end`.
    """
    try:
        place = SweepProgress(sweep_dir, _number_of_points(sweep_dir)).place()
        return run_point(config, run_dir, sweep_dir.name, place).metrics.get(MONITOR.key)
    except RunLocked:
        return None
    except KeyboardInterrupt:
        conclude(sweep_dir)
        raise


def _number_of_points(sweep_dir: Path) -> int | None:
    """Return the number of points in the file that Hydra writes before the first job, None if it is not known."""
    try:
        overrides = OmegaConf.load(sweep_dir / "multirun.yaml").hydra.overrides.task
    except (OSError, OmegaConfBaseException):
        return None
    return varying_keys(list(overrides))[1]


class MultirunCallback(Callback):
    """Configured in conf/hydra_settings.yaml. Does nothing for a single run."""

    progress: SweepProgress

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Name each run after what varies and a hash of all values, so that the same command finds it again.

        A sweep is refused here if the rows of a run there have changed, or if two points share a directory.
        """
        with exit_on_error():
            self._start(config)

    def _start(self, config: DictConfig) -> None:
        folder = Path(config.hydra.sweep.dir).expanduser()
        if config.hydra.runtime.choices["hydra/launcher"] != "basic":
            folder = folder.absolute()  # a job on a cluster may start in another working directory
        keys, number = varying_keys(config.hydra.overrides.task)
        check_rows(folder)
        self.progress = SweepProgress(folder, number)
        with read_write(config), open_dict(config):
            config.hydra.sweep.dir = str(folder)
            given: list[str] = OmegaConf.to_container(config.hydra.overrides.hydra)  # type: ignore[assignment]
            # Hydra composes every job with these overrides.
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quote(str(folder))}")
            if any(line.startswith("hydra.sweep.subdir=") for line in given):
                _check_directories(folder, config.hydra.overrides.task, given)
            else:
                config.hydra.overrides.hydra.append(f"hydra.sweep.subdir='${{run_name:{','.join(keys)}}}'")

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        if config.hydra.mode == RunMode.MULTIRUN:
            self.progress.start(Path(config.hydra.runtime.output_dir))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if config.hydra.mode == RunMode.MULTIRUN:
            self.progress.finish(Path(config.hydra.runtime.output_dir))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Rank and test the runs, and exit. Hydra returns no status for a multirun, and swallows exceptions here."""
        with exit_on_error():
            _, status = conclude(Path(config.hydra.sweep.dir), SweepTest(config.test))
        raise SystemExit(status)


def _check_directories(folder: Path, overrides: Sequence[str], hydra_overrides: Sequence[str]) -> None:
    """Check directories that the user names with hydra.sweep.subdir.

    Raises: UserError, if two points would share one, or if one has the run of another configuration.
    """
    taken: dict[str, TrainConfig] = {}
    for name, config in directories(overrides, hydra_overrides):
        if name in taken:
            raise UserError(
                f"hydra.sweep.subdir: several points of the sweep would share the directory {name}; leave it out, or "
                "name every key that varies in it"
            )
        taken[name] = config
        found = RunResult.load_if_any(folder / name)
        if found:
            check_configuration(folder / name, found, config)
