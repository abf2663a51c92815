{{/*
A hook's pod: it asks the API server, and has nothing of the node. `do` is the command, `name` that of its objects.
*/}}
{{- define "sriov-underlay.hookPod" -}}
restartPolicy: Never
serviceAccountName: {{ .name }}
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
nodeSelector:
  kubernetes.io/os: linux
# Of nodes that work: on one that is down the pod would never start.
tolerations:
  - operator: Exists
    effect: NoSchedule
securityContext:
  runAsNonRoot: true
  runAsUser: 65534
  runAsGroup: 65534
  seccompProfile:
    type: RuntimeDefault
containers:
  - name: {{ .do }}
    image: {{ include "sriov-underlay.image" .root }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    command:
      - sriov-underlay
    args:
      - cluster
      - {{ .do }}
      {{- range include "sriov-underlay.daemonsets" .root | fromJsonArray }}
      - --daemonset={{ . }}
      {{- end }}
      {{- range .resources }}
      - --resource={{ . }}
      {{- end }}
      {{- with .driver }}
      - --driver={{ . }}
      {{- end }}
      - --timeout={{ .root.Values.hooks.timeoutSeconds }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities:
        drop:
          - ALL
    resources:
      {{- toYaml .root.Values.hooks.resources | nindent 6 }}
{{- end -}}

{{/* What a hook's pod may ask for: these DaemonSets by name, and no others. */}}
{{- define "sriov-underlay.hookAccount" -}}
{{- $about := dict "root" .root "name" .name "hook" .hook -}}
# For the pod of the hook {{ .hook }}; gone when it has succeeded.
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "sriov-underlay.hookMetadata" $about | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  {{- include "sriov-underlay.hookMetadata" $about | nindent 2 }}
rules:
  - apiGroups:
      - apps
    resources:
      - daemonsets
    resourceNames:
      {{- include "sriov-underlay.daemonsets" .root | fromJsonArray | toYaml | nindent 6 }}
    verbs:
      {{- toYaml .verbs | nindent 6 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  {{- include "sriov-underlay.hookMetadata" $about | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ .name }}
    namespace: {{ .root.Release.Namespace }}
{{- end -}}

{{- define "sriov-underlay.hookMetadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
{{ include "sriov-underlay.hookAbout" . }}
{{- end -}}

{{/* The labels are none that a DaemonSet selects its pods by: it would take such a pod for one of its own. */}}
{{- define "sriov-underlay.hookAbout" -}}
labels:
  app.kubernetes.io/name: {{ include "sriov-underlay.chartName" .root }}-hook
  app.kubernetes.io/instance: {{ .root.Release.Name }}
  app.kubernetes.io/version: {{ include "sriov-underlay.version" .root }}
  app.kubernetes.io/component: {{ .hook }}
  app.kubernetes.io/part-of: sriov-underlay
  {{- include "sriov-underlay.release" .root | nindent 2 }}
annotations:
  helm.sh/hook: {{ .hook }}
  helm.sh/hook-weight: {{ .weight | default "-5" | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
  {{- with .more }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Names of the DaemonSets, as JSON. */}}
{{- define "sriov-underlay.daemonsets" -}}
{{- $name := include "sriov-underlay.name" . -}}
{{- $names := list $name -}}
{{- range $group := keys .Values.nodeGroups | sortAlpha -}}
{{- $names = append $names (printf "%s-%s" $name $group) -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/* Names of the resources of a config, as JSON. Its keys are in any case, as the device plugin reads them. */}}
{{- define "sriov-underlay.resources" -}}
{{- $names := list -}}
{{- range $key, $list := .config -}}
{{- range $resource := $list -}}
{{- $lower := dict -}}
{{- range $one, $value := $resource }}{{ $_ := set $lower (lower $one) $value }}{{ end -}}
{{- $names = append $names (printf "%s/%s" ($lower.resourceprefix | default $.prefix) $lower.resourcename) -}}
{{- end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/* Those of all nodes and of the groups, each once, as JSON. */}}
{{- define "sriov-underlay.allResources" -}}
{{- $names := include "sriov-underlay.resources" (dict "config" .Values.config "prefix" .Values.resourcePrefix) | fromJsonArray -}}
{{- range $group, $own := .Values.nodeGroups -}}
{{- $names = concat $names (include "sriov-underlay.resources" (dict "config" $own.config "prefix" $.Values.resourcePrefix) | fromJsonArray) -}}
{{- end -}}
{{- $names | uniq | sortAlpha | toJson -}}
{{- end -}}
