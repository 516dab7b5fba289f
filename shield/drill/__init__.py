"""Drills: faults injected at an origin to prove that failover works."""
