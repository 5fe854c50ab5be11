"""The mathematics: pure functions of tensors. Fields of a class are its hyperparameters, `__call__` is the equation."""
