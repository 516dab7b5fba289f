"""Orders spread to all nodes of a cluster: the journal of them, the ways on which they go, receipts."""
