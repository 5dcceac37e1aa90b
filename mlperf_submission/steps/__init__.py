"""Finished steps by content: found again by the hash of everything that went into them."""
