"""The pages of the monthly indicators."""
