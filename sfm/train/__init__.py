"""Pretraining, fine-tuning and evaluation, on pytorch-lightning's Trainer."""
