"""What a training step costs: its time beside the conventional one, its arithmetic, its memory, its start."""
