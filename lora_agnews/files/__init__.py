"""Files that appear complete or not at all, and locks between processes.

Inputs: paths. Outputs: streams and context managers. Reading order: atomic.py (writing), locks.py (who may write).
"""
