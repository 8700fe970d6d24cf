"""Generators of random inputs: numbers, calls of rows, programs, compositions, models."""
