"""Audits: the same objects in all origins? Listings are merged, and bytes compared where that is asked for."""
