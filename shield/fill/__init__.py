"""Bringing entries into the store: the fills, their buffers and the table that shares them."""
