"""What the programs of this project do with a broker: rows and jobs taken, events told, dead letters looked at."""
