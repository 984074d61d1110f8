"""The names of profiles, and what chooses one."""

from __future__ import annotations

LOCAL, SIMULATED = "local", "sim"
PROFILES = (LOCAL, SIMULATED)
DEFAULT_PROFILE = LOCAL
PROFILE_VARIABLE = "LABKIT_PROFILE"  # of the environment
