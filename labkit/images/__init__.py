"""Disk images: base images on the manager and the workers, overlays made from them."""
