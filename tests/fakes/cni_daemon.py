"""The CNI daemon on a mock node: `python -m tests.fakes.cni_daemon MOCK_FOLDER [options of sriov_cni]`."""

import pathlib
import sys

from sriov_cni import app as daemon
from tests.fakes import mock_kernel

if __name__ == "__main__":
    sys.exit(daemon.main(sys.argv[2:], mock_kernel.opener(pathlib.Path(sys.argv[1]))))
