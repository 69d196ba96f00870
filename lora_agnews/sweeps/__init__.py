"""Many runs: multiruns of train.py and studies of sweep.py. Each run is skipped, resumed or started, then ranked.

Inputs: a multirun of Hydra, or a `StudyConfig`. Outputs: a directory of runs, leaderboard.csv, report.html, study.db.

Reading order: point.py (one run of a sweep), testing.py (which are tested), progress.py (lines and leaderboard),
multirun.py (Hydra's callback), then for studies space.py (what varies), storage.py (Optuna's storage), claims.py
(which process works on a trial), study.py (points and trials), run_study.py.
"""
