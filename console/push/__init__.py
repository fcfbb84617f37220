"""Chunked, verified, resumable transfer of a release onto servers."""

WORKER_COMMAND = "_push-worker"
"""The hidden command by which a frozen program starts its workers; light to import, for every command's parser names it."""
