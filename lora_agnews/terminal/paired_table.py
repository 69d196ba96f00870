"""The table of `compare --paired`: each configuration beside the best one."""

from rich.table import Table
from rich.text import Text

from lora_agnews.results.comparison import EXPLANATION, BesideBest
from lora_agnews.terminal.console import print_line, print_table


def show_paired(found: BesideBest) -> None:
    """Show the difference of each row from the best one, on validation rows and on test rows if both were tested."""
    print_line(f"beside {found.best.name}", style="italic")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("run", "rows", "difference", "p by seed"):
        table.add_column(column, overflow="fold", no_wrap=column == "difference")
    for each in found.others:
        for split, difference in each.by_split.items():
            table.add_row(Text(each.row.name if split == "val" else ""), split, str(difference), difference.p_by_seed)
    print_table(table)
    print_line(EXPLANATION, style="dim")
