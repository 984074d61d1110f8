"""Simulated QEMU processes: their command line, monitor and sockets."""
