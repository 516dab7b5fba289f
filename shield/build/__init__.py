"""Makes the parts of a node from its settings; `app.build` puts them together. Each part gets its own few values."""
