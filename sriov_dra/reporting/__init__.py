"""Status of claims: what their pods have of each device, told to the API server."""
