"""Is the invoice right? A vendor's own figures beside the ledger, day by day."""
