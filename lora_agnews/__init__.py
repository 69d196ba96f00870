"""Fine-tune RoBERTa with LoRA on AG News under a hard budget of 1,000,000 trainable parameters."""

__version__ = "0.1.0"
