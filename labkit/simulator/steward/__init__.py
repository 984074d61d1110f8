"""The steward of a simulated worker: the real one's code in simulated surroundings."""
