"""Settings: every default and limit with its unit and reason, where they are given, and what is wrong with them."""
