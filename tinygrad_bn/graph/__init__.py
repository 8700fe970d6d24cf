"""The recorded graph: tensors, primitives, scopes, the sweep. Knows no operation by name."""

from tinygrad_bn.graph.memory import keep_freed_memory

keep_freed_memory()
