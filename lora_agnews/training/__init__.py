"""One run: prepare data and model, train, test the best checkpoint, and record everything in the run directory.

Inputs: a `TrainConfig` and a run directory. Outputs: `RunResult` and the files of the run directory.

Reading order: run.py (a run and its record), fit.py (prepare, fit, test), task.py (the LightningModule), optimizers.py,
metrics.py, then what surrounds the training loop: trainer.py, checkpoint.py, callbacks.py, tracking.py, wandb_run.py.
"""
