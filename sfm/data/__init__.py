"""Samples, tokens, storage, readers, splits and batches."""
