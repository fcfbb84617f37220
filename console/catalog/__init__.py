"""The sourced, graded catalog of devices, models, serving frameworks and stacks."""
