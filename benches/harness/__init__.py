"""The benchmark's own machinery, on the standard library alone."""
