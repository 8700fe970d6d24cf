"""Compositions of primitives. No derivative is written here: each follows from the table."""
