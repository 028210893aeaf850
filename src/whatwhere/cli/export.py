"""The command `whatwhere export`."""
