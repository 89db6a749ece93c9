"""The mathematics of each descriptor in readable NumPy, one module each."""
