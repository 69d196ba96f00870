"""Run a study: python sweep.py [--plan] [study=NAME] [key=value ...]"""

import argparse
import sys

from lora_agnews.config.compose import compose_study, hydra_initialized
from lora_agnews.config.help import study_help
from lora_agnews.terminal.console import exit_cleanly


def main() -> int:
    """Plan, run, resume, rank and report a study of conf/study; return the exit status."""
    parser = argparse.ArgumentParser(
        description="Run every point of a study with every seed, rank the runs and write a report.",
        epilog=study_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="a key of the study, listed below, or of train.py"
    )
    parser.add_argument("--config-dir", metavar="DIR", help="own files: DIR/study/NAME.yaml, DIR/experiment/NAME.yaml")
    parser.add_argument("--plan", action="store_true", help="show what fits the budget, and run nothing")
    parser.add_argument(
        "--worker", action="store_true", help=argparse.SUPPRESS
    )  # started by the command with workers=N
    arguments = parser.parse_intermixed_args()  # overrides before and after a flag
    with exit_cleanly(), hydra_initialized(arguments.config_dir):
        config = compose_study(arguments.overrides)
        from lora_agnews.sweeps.run_study import run_study, show_plan  # imports Optuna

        if arguments.plan:
            show_plan(config)
            return 0
        own = ["--config-dir", arguments.config_dir] if arguments.config_dir else []
        return run_study(config, [sys.executable, __file__, "--worker", *own, *arguments.overrides], arguments.worker)


if __name__ == "__main__":
    sys.exit(main())
