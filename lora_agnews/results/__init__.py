"""The record of a run, and what is made of many records: a ranking, pictures and a page.

Inputs: result.json, config.yaml and metrics.csv of runs. Outputs: leaderboard rows, PNG figures, report.html.

Reading order: monitor.py (the metric that decides), record.py (result.json), ranking.py (mean and spread over seeds),
estimates.py (intervals), figures.py (pictures of one run), plots.py and report.py (the page of many runs).
"""
