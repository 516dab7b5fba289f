"""How a node begins, goes on and ends as a service of its machine: what the service manager is told and hands over,
and how the program is replaced by another version in place."""
