"""The web page of a server: its files are served as they are, there is no build step."""
