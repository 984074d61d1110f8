"""Engines: what does the steps of a plan, and looks at what is there."""

from __future__ import annotations

from labkit.engines.engine import Belonging, Check, Engine, SliceId, Survey
from labkit.engines.hosts import HostsEngine

__all__ = ["Belonging", "Check", "Engine", "HostsEngine", "SliceId", "Survey"]
