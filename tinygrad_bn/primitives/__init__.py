"""The table of primitives: one short row per operation, grouped in families."""
