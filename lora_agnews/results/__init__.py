"""The record of a run, and what is made of many records: a ranking, pictures and a page.

Inputs: result.json, config.yaml, metrics.csv, val_predictions.npy and test_predictions.npy of runs. Outputs:
leaderboard rows, PNG figures, report.html.

Reading order: monitor.py (the metric that decides), curves.py (metrics.csv), record_check.py (damaged records),
record.py (result.json), row.py (mean and spread over seeds), predictions.py (row by row), paired.py (what is
tied), ranking.py (the leaderboard), cost.py (what it took), estimates.py (intervals), comparison.py (each row beside
the best), figures.py (pictures of one run), plots.py and report.py (the page of many runs).
"""
