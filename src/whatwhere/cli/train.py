"""The command `whatwhere train`."""
