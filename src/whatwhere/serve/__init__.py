"""The server: prediction over HTTP, its pages and its monitoring. Needs the extra `serve`."""
