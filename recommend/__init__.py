"""Rows and behaviour become a feed: sources, filters, rank, explore, slate. `pipeline.py` tells the story."""
