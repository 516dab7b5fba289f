"""What the node says of itself: metrics and the access log."""
