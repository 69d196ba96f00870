"""Plan a study against the budget: python sweep.py [study=NAME] [key=value ...]"""

import argparse
import sys

from lora_agnews.config import UserError
from lora_agnews.launch import fail, load_points


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Every point of a study of conf/study, its parameters, and if they fit."
    )
    parser.add_argument("overrides", nargs="*", help="study=NAME (default: rank), and overrides of train.py")
    try:
        study, points = load_points(parser.parse_args().overrides)
        from lora_agnews.plan import show_plan  # torch loads once the study is known to be good

        show_plan(study, points)
    except UserError as error:
        fail(str(error), status=2)
    except RuntimeError as error:
        fail(str(error), status=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
