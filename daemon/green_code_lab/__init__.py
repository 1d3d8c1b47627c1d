"""The laboratory: what trains and measures what `green_code` serves. A distribution of its own, green-code-lab."""
