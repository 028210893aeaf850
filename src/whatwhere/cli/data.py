"""The command `whatwhere data`."""
