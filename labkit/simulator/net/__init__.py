"""A small network stack that speaks in real Ethernet frames."""
