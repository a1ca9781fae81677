"""Statistical disclosure control of released cells, computed from the persons behind each cell."""
