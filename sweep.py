"""Plan a study against the budget: python sweep.py [study=NAME] [key=value ...]"""

import argparse
import sys

from lora_agnews import console
from lora_agnews.config import UserError
from lora_agnews.launch import fail, load_points
from lora_agnews.plan import plan


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Every point of a study of conf/study, its parameters, and if they fit."
    )
    parser.add_argument("overrides", nargs="*", help="study=NAME (default: rank), and overrides of train.py")
    try:
        study, points = load_points(parser.parse_args().overrides)
        budgets = plan(config for _, config in points)
    except UserError as error:
        fail(str(error), status=2)
    except RuntimeError as error:
        fail(str(error), status=1)
    console.show_study(study, [(point, budget) for (point, _), budget in zip(points, budgets, strict=True)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
