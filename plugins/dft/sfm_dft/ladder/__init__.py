"""The one-dimensional ladder: exact answers, Kohn-Sham theory and learned functionals on a line."""
