"""One self-contained page about a set of runs: verdicts, table, figures, samples, how they were made.

`collect` reads records into groups of comparable runs, `figures/` and `samples` say what is shown of a group, `made`
how it came about, `page` puts it into one HTML file, `write` puts everything on the disk.
"""
