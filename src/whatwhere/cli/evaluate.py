"""The command `whatwhere evaluate`."""
