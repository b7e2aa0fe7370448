"""Uploads become rows: decode, encode, fuse, commit."""
