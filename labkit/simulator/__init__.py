"""A simulated lab: workers with memory, for notebooks, demos and tests."""
