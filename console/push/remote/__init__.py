"""What a push runs on a server: standard library only, Python 3.6 and newer, sent over the channel as one text."""
