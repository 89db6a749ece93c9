"""What a run writes: trajectory, thermo table, checkpoint, progress."""
