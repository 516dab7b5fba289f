"""Bytes and requests at origins, and their price."""
