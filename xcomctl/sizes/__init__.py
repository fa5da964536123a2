"""Numbers about sizes: limits, statistics and forecasts. No database, no commands."""
