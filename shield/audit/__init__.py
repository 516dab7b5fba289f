"""Audits: do all origins have the same objects? Listings are merged and compared, and bytes if requested."""
