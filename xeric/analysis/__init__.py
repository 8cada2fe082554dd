"""The results of a study: from records and predictions to estimates, verdicts and tables. No torch, no model."""
