{{/* What the values of `services` add to the pod: the agent, and what only it and the CNI daemon see. */}}

{{/* "serve", "remove" for a release that ends what such a release has pinned, or nothing. */}}
{{- define "sriov-underlay.services" -}}
{{- if and .Values.services.enabled (not .Values.cni.uninstall) -}}
serve
{{- else if or .Values.services.enabled .Values.services.uninstall -}}
remove
{{- end -}}
{{- end -}}

{{- define "sriov-underlay.servicesArguments" -}}
{{- if eq (include "sriov-underlay.services" .) "serve" -}}
- --services=/host/sys/fs/bpf/sriov-underlay
- --cgroup-root=/host/sys/fs/cgroup
- --cluster-socket=/run/sriov/cluster/agent.sock
{{- else -}}
- --remove-services=/host/sys/fs/bpf/sriov-underlay
{{- end }}
- --cluster-snapshot=/var/lib/sriov-underlay/services
{{- if and .Values.policies.enabled (eq (include "sriov-underlay.services" .) "serve") }}
- --policy-socket=/run/sriov/cluster/policies.sock
- --policy-snapshot=/var/lib/sriov-underlay/policies
{{- end }}
{{- end -}}

{{- define "sriov-underlay.servicesMounts" -}}
- name: pins
  mountPath: /host/sys/fs/bpf/sriov-underlay
{{- if eq (include "sriov-underlay.services" .) "serve" }}
- name: cgroup
  mountPath: /host/sys/fs/cgroup
  readOnly: true
{{- end }}
- name: state
  mountPath: /var/lib/sriov-underlay
{{- end -}}
{{- define "sriov-underlay.agent" -}}
# It alone has a token. It watches Services, and tells the CNI daemon which there are: data, on a socket of that daemon.
- name: agent
  image: {{ include "sriov-underlay.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command:
    - sriov-agent
  args:
    - --cluster-socket=/run/sriov/cluster/agent.sock
    - --log-level={{ .Values.log.level }}
    - --log-level-file=/etc/podinfo/log-level
    - --log-format={{ .Values.log.format }}
    {{- if .Values.http.enabled }}
    - --http=127.0.0.1:{{ .Values.http.agentPort }}
    {{- end }}
    {{- if .Values.policies.enabled }}
    - --policies={{ ternary "all" "kubernetes" .Values.policies.multi }}
    - --policy-socket=/run/sriov/cluster/policies.sock
    {{- end }}
    {{- with .Values.services.extraArgs }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  env:
    - name: NODE_NAME
      valueFrom:
        fieldRef:
          fieldPath: spec.nodeName
    {{- with .Values.services.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  securityContext:
    # The user by whom the daemon knows it (--cluster-uid), and no other container's.
    runAsNonRoot: true
    runAsUser: 64731
    runAsGroup: 64731
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop:
        - ALL
  {{- if .Values.http.enabled }}
  {{- include "sriov-underlay.probes" .Values.http.agentPort | nindent 2 }}
  {{- end }}
  resources:
    {{- toYaml .Values.services.resources | nindent 4 }}
  volumeMounts:
    - name: cluster
      mountPath: /run/sriov/cluster
      readOnly: true
    - name: podinfo
      mountPath: /etc/podinfo
      readOnly: true
    - name: agent-access
      mountPath: /var/run/secrets/kubernetes.io/serviceaccount
      readOnly: true
    {{- with .Values.services.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "sriov-underlay.servicesVolumes" -}}
# The programs for Services and their table, which outlive the daemon: our folder of the node's BPF file system, and no
# other's.
- name: pins
  hostPath:
    path: /sys/fs/bpf/sriov-underlay
    type: DirectoryOrCreate
# The Services that the node had last, for a daemon that starts before the API server can be asked.
- name: state
  hostPath:
    path: /var/lib/sriov-underlay
    type: DirectoryOrCreate
{{- if eq (include "sriov-underlay.services" .) "serve" }}
# The root of all cgroups, where programs act for every pod; a container's own /sys/fs/cgroup begins further down. To
# attach one takes the folder's descriptor, and writes nothing.
- name: cgroup
  hostPath:
    path: /sys/fs/cgroup
    type: Directory
# The folder of the socket alone: the agent sees nothing else of the run directory.
- name: cluster
  hostPath:
    path: /run/sriov/cluster
    type: DirectoryOrCreate
# The agent's token, as the kubelet would mount it into every container.
- name: agent-access
  projected:
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3607
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
      - downwardAPI:
          items:
            - path: namespace
              fieldRef:
                fieldPath: metadata.namespace
{{- end }}
{{- end -}}
