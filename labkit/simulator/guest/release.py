"""What the kernel of a simulated guest calls itself."""

RELEASE = "6.1.0-50-cloud-amd64"
VERSION = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-07-02)"
