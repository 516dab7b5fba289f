"""The node's metrics, reports and logs."""
