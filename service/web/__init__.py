"""HTTP: the doors for the platform's own services, and one quiet page."""
