"""The run itself: stages, guards, timing, resuming."""
