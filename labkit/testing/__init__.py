"""For tests of labkit, and of what is built on it."""
