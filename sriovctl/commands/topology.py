"""`sriovctl topology`: PCIe roots, bridges, PFs, VFs, pods and the nearest GPUs, as text, JSON, SVG, or for NCCL."""

import pathlib
from collections.abc import Mapping

import click

from sriov import errors
from sriov.hardware import sysfs
from sriovctl import completions, names, options, output, paths
from sriovctl.node import gpus, pcie, snapshot
from sriovctl.views import alignment, devices, documents, nccl_topology, pcie_drawing, pcie_tree


def register(program: click.Group) -> None:
    program.add_command(_command)


@click.command("topology")
@options.output_option
@click.option("--svg", type=click.Path(dir_okay=False, path_type=pathlib.Path), help="Write a drawing to this file.")
@click.option(
    "--nccl",
    "pod",
    metavar="POD",
    shell_complete=completions.pods,
    help="Print the file that NCCL_TOPO_FILE is to name in this pod.",
)
@options.pass_places
def _command(where: paths.Places, form: output.OutputFormat, svg: pathlib.Path | None, pod: str | None) -> None:
    """Where NICs, VFs, pods and GPUs are on PCIe, with NUMA nodes and the distance of each NIC to each GPU.

    Distances are those of `nvidia-smi topo -m`: PIX, PXB, PHB, NODE, SYS. For --nccl the pod's devices are those that
    the kubelet reports for it, VFs and GPUs: NVIDIA's by UUID or index, others by their PCI address.

    Below the tree is for each GPU how many free VFs share its PCIe root, which is what a claim can ask for.
    """
    if pod is not None and (svg is not None or form is not output.OutputFormat.TABLE):
        raise click.UsageError("--nccl prints NCCL's own file: leave out --svg and --output")
    if svg is not None and form is not output.OutputFormat.TABLE:
        raise click.UsageError("--svg writes a drawing, and nothing is printed: leave out --output")
    seen = snapshot.take(where)
    functions = pcie.read(seen.tree)
    if pod is not None:
        output.write(_for_nccl(seen, functions, gpus.read(where.proc), names.pod(seen, pod)))
        return
    rows = devices.rows(seen)
    branches = pcie_tree.grow(functions, rows)
    if svg is not None:
        _save(svg, pcie_drawing.svg(branches))
        return
    aligned = alignment.items(functions, rows, seen.now.claimed)
    if form.for_people:
        output.write(pcie_tree.text(branches) + alignment.text(aligned))
        output.unseen(form, seen.unseen)
        return
    found = [pcie_tree.item(each) for each in branches]
    document = documents.TopologyDocument(found, aligned, unseen=list(seen.unseen))
    output.show(form, output.Table((), ()), documents.plain(document))


def _save(path: pathlib.Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise errors.LedgerError(f"cannot write {path}: {error.strerror}", "name another file") from error


def _for_nccl(seen: snapshot.Survey, functions: Mapping[str, pcie.Function], known: Mapping[str, str], pod: str) -> str:
    given = {gpus.address(known, device) or device for device in seen.told.held_by(pod)}
    held = {device for device in given if device in functions}
    held |= {pci for pci in seen.held if seen.pod_of(pci) == pod and pci in functions}
    if not held:
        trouble = seen.told.trouble or "the kubelet gave it no PCI device"
        raise errors.DeviceError(f"pod {pod} has no device that NCCL could use: {trouble}", "see `sriovctl explain`")
    return nccl_topology.document(functions, held, {pci: _rdma(seen, pci) for pci in held})


def _rdma(seen: snapshot.Survey, pci: str) -> tuple[str, ...]:
    """Return the RDMA devices as the pod has them: exclusive ones have left with the VF; the ledger has their names."""
    held = seen.held.get(seen.catalog.candidates[pci].pci) if pci in seen.catalog.candidates else None
    if held is not None and held.record.rdma:
        return tuple(each.name for each in held.record.rdma)
    return sysfs.names(seen.tree.pci_devices / pci / "infiniband")
