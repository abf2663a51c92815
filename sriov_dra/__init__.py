"""DRA driver: publishes the node's VFs for claims, and prepares the claims that get them."""
