"""Looking after cache directories while no node, or a running one, uses them."""
