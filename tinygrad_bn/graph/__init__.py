"""The recorded graph: tensors, primitives, scopes, the sweep. Knows no operation by name."""
