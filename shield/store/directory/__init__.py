"""One cache directory: segment files, their index, and what keeps both true."""
