"""Publishing: the gates of a search generation, and its life once served."""
