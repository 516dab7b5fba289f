"""Parts of a node out of its settings; `app.build` puts them together. Each part gets its own few values."""
