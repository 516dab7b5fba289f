"""A day of a platform's traffic, compressed into minutes, through a real node: does the money add up?"""
