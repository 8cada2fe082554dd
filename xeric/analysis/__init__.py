"""What a study found: from records and predictions to estimates, verdicts and tables. No torch, no model."""
