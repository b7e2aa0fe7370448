"""The records, the ledger, the blobs, the tables and the search over them."""
