"""Everything towards the origins: connections, signing, attempts and failover."""
