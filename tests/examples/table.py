"""Table of the pages' commands and the tests that run them: a test takes its commands here, a page has their words."""

import pathlib

from tests.examples import pages

_ANNOTATE = "kubectl --namespace kube-system annotate pods --selector app.kubernetes.io/name=sriov-underlay"
_ATTACH = "tests/hack/test_bench_attach.py::test_a_short_run"
_BESIDE = "tests/hack/test_bench_attach.py::test_a_short_run_beside_another_checkout"
_CI = "tests/examples/test_table.py::test_ci_types_what_no_test_can"
_CLUSTER = "tests/deploy/test_typed_at_a_cluster.py::test_what_is_typed_does_what_the_page_says"
_DRAIN = "tests/deploy/test_typed_at_a_cluster.py::test_a_node_is_drained_and_taken_into_use_again"
_DEMO = "tests/hack/test_demo.py::test_the_story_on_veths"
_DEVICEPLUGIN = "tests/hack/test_bench_deviceplugin.py::test_a_short_run"
_GUEST = "tests/lab/installing/test_provisioning_page.py::test_vfs_by_the_page"
_HOST = "tests/hack/test_bench_host.py::test_a_short_run_leaves_the_host_as_it_was"
_LAB = "tests/hack/test_lab.py::test_a_command_runs_and_its_output_files_and_status_come_home"
_LAB_NETWORK = "tests/hack/test_lab.py::test_a_guest_with_a_network_reaches_this_machine_and_does_not_offer_its_card"
_LEVEL = "tests/deploy/test_metrics_page.py::test_an_annotation_is_the_file_that_the_daemons_of_one_node_follow"
_MANAGERS = "tests/lab/managers/test_managers.py::test_f18_vfs_are_taken_and_let_go_when_our_files_come"
_METRICS = "tests/hack/test_bench_metrics.py::test_a_short_run"
_DRA = "tests/hack/test_bench_dra.py::test_a_short_run"
_HOST_LINK = "tests/hack/test_bench_host_link.py::test_a_short_run"
_POLICY = "tests/hack/test_bench_policy.py::test_a_short_run"
_UNINSTALLING = "tests/kernel/test_uninstalling.py::test_the_nodes_rules_for_host_links_stay_as_long_as_a_pod_has_one"
_SERVICES = "tests/hack/test_bench_services.py::test_a_short_run"
_NODE = "tests/examples/test_on_a_node.py::test_what_is_typed_on_a_node"
_OPERATOR = "tests/deploy/test_operator.py"
_ON_A_NODE = "--field-selector spec.nodeName=node-1"
_PROMETHEUS = "tests/deploy/test_alerts.py::test_each_alert_fires_when_it_should_and_not_else"
_PROMPT = "tests/hack/test_lab_shell.py::test_the_page_at_the_prompt"
_README = "tests/examples/test_readme_on_a_node.py::test_what_root_types_does_what_the_pages_say"
_REST = "tests/hack/test_bench_rest.py::test_a_short_run_beside_another_checkout"
_SCALE = "tests/hack/test_bench_scale.py::test_a_short_run"
_SRIOVCTL = "tests/sriovctl/test_page.py::test_an_example_is_what_is_printed"
_POLICY_PAGE = "tests/sriovctl/commands/test_policy.py::test_the_page_shows_what_is_printed"
_KUBECTL = "tests/sriovctl/cluster/test_kubectl_sriov.py::test_the_page_is_what_is_printed"
_TRAFFIC = "hack/bench traffic --json $LAB_OUT/traffic.json --plot $LAB_OUT/traffic.png"
_UNITS = "tests/lab/installing/test_services.py::test_services_by_the_page"
_UPGRADE = "helm upgrade --install sriov-underlay deploy/chart/sriov-underlay --namespace kube-system"
_WHOLE = {
    ("README.md", "#"): _README,
    ("README.md", "$"): _CLUSTER,
    ("docs/install.md", "$"): _CLUSTER,
    ("docs/quickstart.md", "#"): _README,
    ("docs/quickstart.md", "$"): _CLUSTER,
}
"""Everything at that prompt of the page, less what has a row in RUN; the test knows what is to be seen of each."""
RUN = {
    **{
        (page, each.command): test
        for (page, at), test in _WHOLE.items()
        for each in pages.examples(page)
        if each.prompt == at
    },
    ("README.md", "./hack/demo"): _CI,
    ("README.md", "./hack/test"): _CI,
    ("README.md", "./hack/demo --mock"): _DEMO,
    ("README.md", "hack/docs build"): "tests/test_docs_site.py::site",
    ("README.md", "hack/docs serve"): "tests/test_docs_site.py::test_the_site_is_shown",
    ("README.md", "sriov-underlay status"): _README,
    ("README.md", "sriovctl provision --apply /etc/sriov-underlay/provision.yaml"): _GUEST,
    ("README.md", "systemctl enable --now sriov-cni.socket sriov-cni.service sriov-device-plugin.service"): (
        "tests/lab/installing/test_installing.py::enable_as_the_readme_does"
    ),
    ("docs/install.md", "echo 8 >/sys/class/net/ens1f0/device/sriov_numvfs"): _README,
    ("docs/install.md", "podman run --network vf0"): "tests/lab/runtimes/podman.py::start",
    ("docs/quickstart.md", "hack/demo --mock"): _DEMO,
    ("docs/cni.md", "sriovctl doctor"): _NODE,
    ("docs/conformance.md", "hack/bench deviceplugin"): _DEVICEPLUGIN,
    ("docs/deviceplugin.md", "sriov-device-plugin --config-file /etc/pcidp/config.json"): _NODE,
    ("docs/deviceplugin.md", "sriov-device-plugin --dry-run --config config.json"): (
        "tests/deviceplugin/test_dry_run.py::test_the_page_shows_what_is_printed"
    ),
    ("docs/deviceplugin.md", "hack/bench deviceplugin"): _DEVICEPLUGIN,
    ("docs/deviceplugin.md", "devlink dev info pci/ADDRESS"): (
        "tests/lab/netdevsim/test_devlink_info.py::test_versions_are_what_the_pages_command_shows"
    ),
    ("docs/faq.md", "sriovctl inventory"): _NODE,
    ("docs/faq.md", "sriovctl topology"): _NODE,
    ("docs/lab.md", "hack/lab shell"): _PROMPT,
    ("docs/lab.md", "hack/lab run -- COMMAND"): _LAB,
    ("docs/lab.md", "hack/lab run --out results -- sh -c 'ip -d link >$LAB_OUT/links'"): _LAB,
    ("docs/lab.md", """hack/lab run --netdevsim -- sh -c 'echo "1 1" >/sys/bus/netdevsim/new_device; ip link'"""): (
        "tests/lab/netdevsim/test_netdevsim_kernel.py::test_what_the_page_runs"
    ),
    ("docs/lab.md", "hack/lab run --network -- ip route show default"): _LAB_NETWORK,
    ("docs/lab.md", "hack/lab fetch"): "tests/hack/test_lab.py::test_the_cache_is_filled_or_verified",
    ("docs/lab.md", "hack/lab clean"): "tests/hack/test_lab.py::test_the_cache_is_emptied",
    ("docs/lab.md", "pod add red vlan=100 mac=02:00:00:00:00:01"): _PROMPT,
    ("docs/lab.md", "pod add green vlan=100"): _PROMPT,
    ("docs/lab.md", "pod add blue resource=lab.io/rail_b vlan=200"): _PROMPT,
    ("docs/lab.md", "pod list"): _PROMPT,
    ("docs/lab.md", "ip netns exec red ping -c 3 10.56.217.3"): _PROMPT,
    ("docs/lab.md", "ip link show"): _PROMPT,
    ("docs/lab.md", "ip netns del blue"): _PROMPT,
    ("docs/lab.md", "pod del red"): _PROMPT,
    ("docs/lab.md", "exit"): _PROMPT,
    ("docs/metrics.md", "sriov-device-plugin --http 127.0.0.1:9557"): _NODE,
    ("docs/metrics.md", "sriov-cni-daemon --http 127.0.0.1:9558"): _NODE,
    ("docs/metrics.md", "curl http://127.0.0.1:9558/readyz"): _NODE,
    ("docs/metrics.md", "pkill -USR1 -f bin/sriov-cni-daemon"): _NODE,
    ("docs/metrics.md", "promtool test rules alerts.test.yaml"): _PROMETHEUS,
    ("docs/metrics.md", f"{_UPGRADE} --values metrics-values.yaml"): "tests/deploy/test_metrics_page.py::installed",
    (
        "docs/metrics.md",
        f"{_ANNOTATE} {_ON_A_NODE} --overwrite sriov-underlay/log-level=debug",
    ): _LEVEL,
    ("docs/metrics.md", f"{_ANNOTATE} sriov-underlay/log-level-"): _LEVEL,
    ("docs/metrics.md", "hack/bench metrics"): _METRICS,
    ("docs/services.md", "hack/bench services"): _SERVICES,
    ("docs/dra.md", "hack/bench dra"): _DRA,
    ("docs/dra.md", "hack/build-shim --hook"): "tests/sriov_dra/test_docs.py::test_the_hook_is_made_as_the_page_says",
    ("docs/host-link.md", "hack/bench host-link"): _HOST_LINK,
    ("docs/policy.md", "hack/bench policy"): _POLICY,
    ("docs/policy.md", "sriovctl doctor"): _POLICY_PAGE,
    ("docs/policy.md", "sriovctl policy web"): _POLICY_PAGE,
    ("docs/policy.md", "sriovctl policy web --from 10.1.0.9 --port 80"): _POLICY_PAGE,
    ("docs/policy.md", "sriovctl policy web --from 10.1.0.20 --to 192.0.2.53 --port 53/udp"): _POLICY_PAGE,
    ("docs/host-link.md", "sriov-underlay uninstall"): _UNINSTALLING,
    ("docs/metrics.md", "ip -s link show PF"): _GUEST,
    ("docs/migration.md", "sriov-device-plugin --dry-run --config-file /etc/pcidp/config.json"): _NODE,
    ("docs/migration.md", "sriov-underlay install --replace-incumbent --enable"): _NODE,
    ("docs/migration.md", "kubectl cordon NODE"): _DRAIN,
    (
        "docs/migration.md",
        "kubectl get pods --all-namespaces --field-selector spec.nodeName=NODE,status.phase=Pending",
    ): _DRAIN,
    ("docs/migration.md", "kubectl get node NODE --output jsonpath='{.status.allocatable}'"): _DRAIN,
    ("docs/migration.md", "sriovctl attachments"): (
        "tests/sriovctl/commands/test_predecessor.py::test_the_page_of_the_change_shows_what_is_printed"
    ),
    ("docs/migration.md", "kubectl drain NODE --ignore-daemonsets --delete-emptydir-data"): _DRAIN,
    ("docs/migration.md", "kubectl uncordon NODE"): _DRAIN,
    ("docs/migration.md", "sriov-underlay status"): _NODE,
    ("docs/migration.md", "sriov-underlay uninstall"): _NODE,
    **dict.fromkeys(
        (
            ("docs/operator.md", "hack/build-image --tag registry.example/sriov-underlay:0.1.0"),
            *(
                (
                    "docs/operator.md",
                    f"hack/build-image --target {each} --tag registry.example/sriov-underlay-{each}:0.1.0",
                )
                for each in ("device-plugin", "cni", "ib-cni")
            ),
        ),
        "tests/hack/test_build_image.py::test_the_operators_images_are_built_as_the_page_says",
    ),
    **dict.fromkeys(
        (
            (
                "docs/operator.md",
                (
                    "kubectl get configmap device-plugin-config --namespace sriov-network-operator --output yaml"
                    " | sriovctl check -"
                ),
            ),
            (
                "docs/operator.md",
                "kubectl get network-attachment-definitions --all-namespaces --output yaml | sriovctl check -",
            ),
        ),
        f"{_OPERATOR}::test_the_operators_objects_are_checked_as_the_page_says",
    ),
    **dict.fromkeys(
        (
            ("docs/operator.md", "kubectl apply -k my-nodes"),
            ("docs/operator.md", "kubectl --namespace sriov-network-operator rollout status daemonset/sriov-underlay"),
            ("docs/operator.md", "kubectl delete -k my-nodes"),
        ),
        "tests/deploy/test_typed_at_a_cluster.py::test_the_daemon_beside_the_operator_comes_and_goes",
    ),
    ("docs/performance.md", "hack/bench attach --plot attach.png --json attach.json"): _ATTACH,
    ("docs/performance.md", "hack/bench attach --beside before --json attach.json"): _BESIDE,
    ("docs/performance.md", "hack/lab run -- hack/bench attach --igb"): (
        "tests/lab/benchmarks/test_attach.py::test_a_short_run_on_real_vfs"
    ),
    ("docs/performance.md", "hack/bench host"): _HOST,
    ("docs/performance.md", "hack/bench rest --beside before"): _REST,
    ("docs/performance.md", "hack/bench scale --json scale.json"): _SCALE,
    ("docs/performance.md", f"hack/lab run --out traffic -- sh -c '{_TRAFFIC}'"): (
        "tests/lab/benchmarks/test_traffic.py::test_a_short_run"
    ),
    ("docs/performance.md", "hack/packages iperf3 sockperf iperf"): (
        "tests/hack/test_bench_traffic.py::test_its_tools_are_installed_as_the_page_says"
    ),
    ("docs/performance.md", "sriovctl doctor"): _NODE,
    ("docs/provisioning.md", "sriovctl provision --plan /etc/sriov-underlay/provision.yaml"): _GUEST,
    ("docs/provisioning.md", "sriovctl provision --apply /etc/sriov-underlay/provision.yaml"): _GUEST,
    ("docs/provisioning.md", "install -D --mode=644 provision.yaml /etc/sriov-underlay/provision.yaml"): _GUEST,
    ("docs/provisioning.md", "sriov-underlay install --provisioning --enable"): _GUEST,
    ("docs/provisioning.md", "systemctl start sriov-provision"): _GUEST,
    ("docs/provisioning.md", "udevadm trigger --action=change --subsystem-match=net"): (
        "tests/lab/udev/test_udev.py::test_network_managers_keep_off_vfs_and_not_off_their_pf"
    ),
    ("docs/provisioning.md", "sriovctl doctor"): _NODE,
    ("docs/provisioning.md", "networkctl reload"): _MANAGERS,
    ("docs/provisioning.md", "nmcli device set NAME managed no"): _MANAGERS,
    ("docs/sriovctl.md", "sriovctl inventory"): _SRIOVCTL,
    ("docs/sriovctl.md", "sriovctl attachments"): _SRIOVCTL,
    ("docs/sriovctl.md", "sriovctl attachments release 0000:01:10.0 --yes"): _SRIOVCTL,
    ("docs/sriovctl.md", "sriovctl doctor"): _SRIOVCTL,
    ("docs/sriovctl.md", "sriovctl explain default/late"): _SRIOVCTL,
    ("docs/sriovctl.md", "sriovctl explain 0000:01:10.0"): _SRIOVCTL,
    ("docs/sriovctl.md", "sriovctl policy default/web"): _SRIOVCTL,
    ("docs/sriovctl.md", "sriovctl topology"): _SRIOVCTL,
    ("docs/sriovctl.md", "sriovctl check deploy/kustomize/configmap.yaml"): _SRIOVCTL,
    (
        "docs/sriovctl.md",
        "kubectl --namespace kube-system exec daemonset/sriov-underlay --container sriovctl -- sriovctl doctor",
    ): "tests/deploy/test_typed_at_a_cluster.py::test_sriovctl_is_run_on_a_node",
    ("docs/sriovctl.md", "kubectl sriov attachments"): _KUBECTL,
    ("docs/sriovctl.md", "kubectl sriov doctor --node node-1"): _KUBECTL,
    ("docs/sriovctl.md", "kubectl sriov topology --node node-1"): _KUBECTL,
    ("docs/sriovctl.md", "kubectl sriov explain web --namespace default"): _KUBECTL,
    ("docs/sriovctl.md", "kubectl sriov policy web --from 10.1.0.9 --port 80"): _KUBECTL,
    ("docs/sriovctl.md", "kubectl sriov inventory --pool rail_a"): _KUBECTL,
    (
        "docs/sriovctl.md",
        "kubectl sriov traffic rail-a --from node-1 --to node-2 --image registry.example/sriov-traffic:1",
    ): "tests/sriovctl/cluster/test_traffic.py::test_it_does_not_run_by_itself",
    (
        "docs/sriovctl.md",
        "podman build -f deploy/image/traffic.Containerfile -t registry.example/sriov-traffic:1 deploy/image",
    ): "tests/hack/test_containerfile.py::test_the_image_that_measures_traffic_has_the_tools_on_the_same_base",
    ("docs/sriovctl.md", "sriov-underlay check"): (
        "tests/sriovctl/commands/test_check.py::test_the_installer_has_it_too_and_both_read_stdin"
    ),
    ("docs/sriovctl.md", "sriovctl schema"): "tests/sriovctl/test_documents.py::test_the_program_prints_its_schema",
    ("docs/sriovctl.md", "kubectl get pod POD -o json | sriovctl explain POD --pod-file -"): (
        "tests/sriovctl/test_page.py::test_a_pod_as_kubectl_prints_it"
    ),
    ("docs/sriovctl.md", 'eval "$(_SRIOVCTL_COMPLETE=bash_source sriovctl)"'): _NODE,
    ("docs/sriovctl.md", "sriov-device-plugin --dry-run"): _NODE,
    ("docs/sriovctl.md", "sriovctl inventory -o wide"): _NODE,
    ("docs/systemd.md", "python3 -m venv /opt/sriov-underlay"): _NODE,
    ("docs/systemd.md", "/opt/sriov-underlay/bin/pip install --require-hashes -r requirements.lock"): _NODE,
    ("docs/systemd.md", "/opt/sriov-underlay/bin/pip install --no-deps sriov_underlay-*.whl"): _NODE,
    ("docs/systemd.md", "/opt/sriov-underlay/bin/sriov-underlay install --enable"): _NODE,
    ("docs/systemd.md", "/opt/sriov-underlay/bin/sriov-underlay status"): _NODE,
    ("docs/systemd.md", "/opt/sriov-underlay/bin/sriov-underlay install --shim-only"): _NODE,
    ("docs/systemd.md", "/opt/sriov-underlay/bin/sriov-cni-daemon --http 127.0.0.1:9558"): _NODE,
    (
        "docs/systemd.md",
        "/opt/sriov-underlay/bin/sriov-device-plugin --config-file /etc/pcidp/config.json --http 127.0.0.1:9557",
    ): _NODE,
    ("docs/systemd.md", "curl http://127.0.0.1:9558/readyz http://127.0.0.1:9557/readyz"): _NODE,
    ("docs/systemd.md", "systemctl edit sriov-device-plugin"): _GUEST,
    (
        "docs/systemd.md",
        "useradd --system --uid 64731 --home-dir / --shell /usr/sbin/nologin sriov-agent",
    ): _UNITS,
    (
        "docs/systemd.md",
        "install -D -m 0400 -o sriov-agent agent.kubeconfig /etc/sriov-underlay/agent.kubeconfig",
    ): _UNITS,
    ("docs/systemd.md", "/opt/sriov-underlay/bin/sriov-underlay install --services --enable"): _UNITS,
    ("docs/systemd.md", "systemctl status sriov-agent.service"): _UNITS,
    ("docs/troubleshooting.md", "sriovctl doctor"): _NODE,
    ("docs/troubleshooting.md", "sriovctl explain default/web"): _NODE,
    ("docs/troubleshooting.md", "sriovctl inventory"): _NODE,
    ("docs/troubleshooting.md", "sriovctl doctor --all"): _NODE,
    ("docs/troubleshooting.md", "sriovctl inventory --output wide"): _NODE,
    ("docs/troubleshooting.md", "pkill -USR1 -f bin/sriov-cni-daemon"): _NODE,
    ("docs/troubleshooting.md", "sriov-device-plugin --dry-run"): _NODE,
    ("docs/troubleshooting.md", "sriovctl attachments"): _NODE,
    ("docs/troubleshooting.md", "sriov-underlay install --replace-incumbent"): _NODE,
}


def run_by(file: str, test: str) -> list[pages.Example]:
    """What this test has to run, in the order of the pages; what a page has twice comes once, as it stands first."""
    name = f"{pathlib.Path(file).relative_to(pages.ROOT)}::{test}"
    found: dict[tuple[str, str], pages.Example] = {}
    for page in dict.fromkeys(page for page, _ in RUN):
        for each in pages.examples(page):
            if RUN.get((each.page, each.command)) == name:
                found.setdefault((each.page, each.command), each)
    return list(found.values())
