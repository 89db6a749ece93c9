"""Model files and the description of a Deep Potential that every reader yields."""
