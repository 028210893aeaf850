"""The command `whatwhere models`."""
