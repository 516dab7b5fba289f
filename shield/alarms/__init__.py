"""Alarms of a node, and webhooks that carry them to people."""
