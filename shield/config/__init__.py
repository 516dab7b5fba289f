"""Settings: every default and limit with its unit and reason, the origin of each value, and all problems at once."""
