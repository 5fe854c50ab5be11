"""The questions that the paper leaves open: for each a figure and a paragraph, from the records of its study alone."""
