"""Structures: reading them, and matching their elements to a model's types."""
