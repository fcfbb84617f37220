"""Chunked, verified, resumable transfer of a release onto servers."""
