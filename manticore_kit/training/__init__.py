"""Training on Hugging Face's Trainer: fine-tuning, projector pretraining, and the search for mixtures."""
