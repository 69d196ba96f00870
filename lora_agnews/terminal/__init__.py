"""What the user sees in a terminal. No other part of the package prints.

Inputs: budgets, records, rankings, messages. Outputs: lines, progress bars and tables on standard output and error.

Reading order: console.py (lines, notes, errors and exit statuses, progress bars), tables.py,
evaluation_table.py and paired_table.py (tables).
"""
