"""The model: a pretrained encoder with LoRA adapters and a classification head, within the budget.

Inputs: `model.*` of the configuration, the encoder's config.json and weights.
Outputs: a prediction of what is trained, the PEFT-wrapped classifier, and the folder adapter/ of a run.

Reading order: encoder.py (find the files), architecture.py (names and shapes), lora.py (what is adapted, trained and
counted), plan.py (the same for configurations), build.py (the model), prefix.py (its frozen
layers alone), adapter.py (saving and loading).
"""
