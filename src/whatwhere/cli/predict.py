"""The command `whatwhere predict`."""
