"""Maintenance of cache directories, whether or not a node uses them."""
