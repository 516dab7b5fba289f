"""A cluster of a hundred nodes and 10^8 keys in numbers: with the real ring, heat, limits, journals and ways of
orders; only time, requests and the network are made up.
"""
