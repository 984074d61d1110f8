"""Workers reached over SSH."""
