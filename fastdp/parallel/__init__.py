"""Threads (and, later, ranks)."""
