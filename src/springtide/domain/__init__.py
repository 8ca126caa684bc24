"""The words everything else is said in: frozen values, units and errors; standard library only."""
