"""Readers of model files, registered by what a file's content looks like."""
