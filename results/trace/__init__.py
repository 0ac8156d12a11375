"""A trace, as a figure and as a page."""
