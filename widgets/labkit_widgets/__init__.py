"""Forms and live views of labkit for Jupyter."""
