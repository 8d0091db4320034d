"""How a model is learned: state, step, optimizer, trainable mask, checkpoints, the loop."""
