"""Views for people: metrics, plots, reports."""
