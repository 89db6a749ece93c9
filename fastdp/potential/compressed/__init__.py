"""The compressed potential: spline moments and a balanced projector, on the CPU."""
