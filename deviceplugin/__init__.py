"""Device plugin: advertises resources to the kubelet and answers its calls."""
