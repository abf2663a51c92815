"""CNI commands: ADD, DEL, CHECK, STATUS, GC, and the repair of VFs whose DEL never came."""
