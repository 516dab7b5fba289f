"""The way to the origins: connections, signing, attempts and failover."""
