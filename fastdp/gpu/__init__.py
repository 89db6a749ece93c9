"""The compressed potential and whole steps of dynamics on a CUDA device."""
