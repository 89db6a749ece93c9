"""The device layer: memory, launches, matrix products, and the way back to the host.

Only this package knows whether there is a card with CuPy, or NumPy and Numba's simulator.
"""
