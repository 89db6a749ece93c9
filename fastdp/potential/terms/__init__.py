"""Further terms of the potential energy beside the model: pair interactions and dispersion."""
