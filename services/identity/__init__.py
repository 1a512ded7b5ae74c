"""identity: identifiers to customers. One script resolves, links, merges and numbers every customer's log."""
