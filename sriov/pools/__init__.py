"""Which device belongs to which resource, whether it is healthy, and what a container needs to use it."""
