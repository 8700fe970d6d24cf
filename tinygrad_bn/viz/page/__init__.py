"""The page: one self-contained HTML file in which a recorded graph is explored step by step."""
