"""`hack/bench attach`: everybody who attaches a link, in turns on the same links, and what it came to."""
