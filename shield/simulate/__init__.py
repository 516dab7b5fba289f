"""Simulation of a node by access logs: the real routes, keys, freshness and RAM tier, without bytes or network."""
