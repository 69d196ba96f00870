"""Run a study: python sweep.py [--plan] [study=NAME] [key=value ...]"""

import argparse
import sys

from lora_agnews import console
from lora_agnews.config import UserError
from lora_agnews.keys import study_help
from lora_agnews.launch import fail, load_study


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Every point of a study of conf/study with every seed: planned, run, resumed, ranked, reported.",
        epilog=study_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the study, below, or of train.py")
    parser.add_argument("--plan", action="store_true", help="show what fits the budget, and run nothing")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)  # of the command with workers=N
    arguments = parser.parse_args()
    try:
        config = load_study(arguments.overrides)
        from lora_agnews.sweep.study import Study, run_study

        if arguments.plan:
            console.show_study(config, Study(config).budgets)
            return 0
        return run_study(config, [sys.executable, __file__, "--worker", *arguments.overrides], arguments.worker)
    except UserError as error:
        fail(str(error), status=2)
    except RuntimeError as error:
        fail(str(error), status=1)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
