"""Requests between the workers of a node, for the keys that they own."""
