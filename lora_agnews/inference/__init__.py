"""What is done with finished runs: predict, evaluate, submit, export, try out.

Inputs: run directories, files with texts. Outputs: probabilities, metrics with intervals, CSV files, exported folders.

Reading order: calibration.py (the temperature of a run), classifier.py (a run as a classifier), training_rows.py (what
it was trained on), evaluation.py (metrics with intervals), prior.py (other shares of the classes), submission.py (CSV),
many_files.py (Parquet files) and ray_pool.py (with Ray), export.py, onnx_file.py and model_card.py (adapter, merged
model, ONNX), demo.py (a web page), commands.py (the commands).
"""
