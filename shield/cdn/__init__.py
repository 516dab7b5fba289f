"""Purges passed on to CDNs, after the nodes have them."""
