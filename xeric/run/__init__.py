"""One run: a config, a base, tasks and a method become a scored, saved adaptation and a record of it."""
