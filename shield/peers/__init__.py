"""How the workers of a node ask each other for what they own."""
