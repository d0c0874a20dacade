"""What a person looks at: metrics, plots, reports."""
