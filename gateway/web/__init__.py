"""HTTP: health, metrics, API and the page in French. Nothing of the core imports this package."""
