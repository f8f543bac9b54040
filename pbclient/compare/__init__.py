"""Several recorded runs beside each other."""
