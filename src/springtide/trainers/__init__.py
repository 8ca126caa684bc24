"""What trains, predicts and converts inside the sandbox: NumPy, pandas and one framework; nothing else of the project."""
