"""Table of the commands that know a pod's VFs by its claims; the others are those of every network."""

from sriov_cni.commands.claimed import claim_add, claim_check, claim_end
from sriov_cni.spec.environment import Command

COMMANDS = {
    Command.ADD: claim_add.add,
    Command.DEL: claim_end.delete,
    Command.CHECK: claim_check.check,
    Command.GC: claim_end.collect,
}
