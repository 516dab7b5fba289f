"""What the nodes of a cluster have in common, in an engine that others run: Valkey or Redis."""
