"""Image encoders by name, projections, word vectors of classes, and the dual encoder."""
