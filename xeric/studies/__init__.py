"""Studies: a grid of runs from one file, executed, compared with statistics that can say no."""
