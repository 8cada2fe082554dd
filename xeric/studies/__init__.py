"""What a study is: its file, its plan, its folder. No torch; :mod:`xeric.execution` carries it out."""
