"""The CNI daemon on a mock node: `python -m tests.fakes.cni_daemon MOCK_FOLDER [options of sriov_cni]`.

With `--policies FILE` it knows the policies of that file (tests.fakes.policy_source).
"""

import pathlib
import sys

from sriov_cni import app as daemon
from tests.fakes import mock_kernel, policy_source

if __name__ == "__main__":
    source, (folder, *options) = policy_source.taken(sys.argv[1:])
    sys.exit(daemon.main(options, mock_kernel.opener(pathlib.Path(folder)), policies=source))
