"""Other people's code and model files, under lock and key: in a container, or in a bubblewrap sandbox."""
