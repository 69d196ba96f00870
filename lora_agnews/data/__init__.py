"""The data path: AG News from files or the hub to padded batches.

Inputs: `data.*` of the configuration, a tokenizer, a seed. Outputs: `AGNewsDataModule`, and rows of text for inference.

Reading order: formats.py (file formats; pickled.py reads pickles safely, parquet_files.py has what large predictions
read and write), dataset.py (data sets of the hub and of folders), source.py (validated rows), shared_rows.py (for
several processes), split.py (validation split, duplicates), tokens.py (token ids, cached), states.py (hidden states of
a frozen prefix), batches.py (batches), datamodule.py (for Lightning), cache.py (what the cache contains).
"""
