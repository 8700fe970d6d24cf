"""The checker of gradients: what is examined, what is true, how it is judged and told."""
