"""One run: prepare data and model, train, test the best checkpoint, and record everything in the run directory.

Inputs: a `TrainConfig` and a run directory. Outputs: `RunResult` and the files of the run directory.

Reading order: run.py (a run, top to bottom; in_process.py for notebooks), checks.py (before anything is loaded),
fit.py (prepare, fit, test), task.py (the LightningModule), optimizers.py, metrics.py, start.py (from another run),
debug.py (runs that look for mistakes), then what surrounds the loop: recording.py (how a run ended), reuse.py
(whether a run that exists is the one that is asked for), testing.py (a test after the end), prefix.py (a cached
prefix), trainer.py, checkpoint.py and checkpoint_file.py, callbacks.py, in_sweep.py (what a sweep asks of a run),
estimate.py (of the duration), progress_bar.py, tracking.py, metrics_file.py, wandb_run.py and tensorboard.py.
"""
