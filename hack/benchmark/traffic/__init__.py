"""`hack/bench traffic`: a pod's VF, a routed veth and a veth behind a bridge and VXLAN, in turns over the same wire."""
