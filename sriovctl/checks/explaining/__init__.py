"""Steps of explain: why a pod or a VF has what it has. Pure."""
