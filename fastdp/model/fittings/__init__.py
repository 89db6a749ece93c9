"""The mathematics of each kind of fitting in readable NumPy, one module each."""
