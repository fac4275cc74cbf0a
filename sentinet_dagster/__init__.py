"""Program 2: Dagster judges the facts: windows, features, correlations, models, alerts."""
