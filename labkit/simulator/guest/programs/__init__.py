"""The programs of a simulated micro guest."""
