"""Who runs which delivery, and when. The delivery row stays the truth."""
