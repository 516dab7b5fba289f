"""One cache directory: its segment files, their index, and the code that keeps the two consistent."""
