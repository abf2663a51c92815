"""CNI's formats: environment, network configuration, results, errors. Pure."""
