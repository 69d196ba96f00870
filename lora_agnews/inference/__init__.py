"""What is done with finished runs: predict, evaluate, submit, export, try out.

Inputs: run directories, files with texts. Outputs: probabilities, metrics with intervals, CSV files, exported folders.

Reading order: classifier.py (a run as a classifier), evaluation.py (metrics with intervals), submission.py (CSV),
many_files.py (Parquet files) and ray_pool.py (with Ray), export.py and model_card.py (adapter, merged model, ONNX),
demo.py (a web page), commands.py (the commands).
"""
