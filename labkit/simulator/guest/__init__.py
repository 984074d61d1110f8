"""The system inside a simulated machine: boot, agent, console, network and programs."""
