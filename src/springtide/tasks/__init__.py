"""What can be learned: one folder per kind of learning problem, all behind one seam."""
