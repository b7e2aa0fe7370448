"""Arrays and strings in, unit rows out. No encoder knows what a video, an upload or a table is."""
