{{/* Labels that a DaemonSet selects its pods by: those of one group of nodes are no pods of another's. */}}
{{- define "sriov-underlay.podLabels" -}}
app.kubernetes.io/name: {{ include "sriov-underlay.chartName" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}{{ with .group }}_{{ . }}{{ end }}
{{- end -}}

{{/*
The nodes of a DaemonSet, as an affinity; nothing for all. A node is in one group, since a label has one value, or in none.
Beside sriov-network-operator all nodes: it brings the shim to each of its own, and a shim needs the daemon.
What the values ask for holds too: Kubernetes takes a node that fits one term, so each of theirs gets ours.
*/}}
{{- define "sriov-underlay.affinity" -}}
{{- $values := .root.Values -}}
{{- $always := list -}}
{{- if .group -}}
{{- $always = list (dict "key" $values.nodeGroupLabel "operator" "In" "values" (list .group)) -}}
{{- else if $values.nodeGroups -}}
{{- $always = list (dict "key" $values.nodeGroupLabel "operator" "NotIn" "values" (keys $values.nodeGroups | sortAlpha)) -}}
{{- end -}}
{{- $ways := list $always -}}
{{- if and $values.nodeFeatureDiscovery.enabled (not $values.operator.enabled) (not (contains "\"accelerator\"" (toJson .config))) -}}
{{- $capable := dict "key" "feature.node.kubernetes.io/network-sriov.capable" "operator" "In" "values" (list "true") -}}
{{- $unseen := dict "key" "feature.node.kubernetes.io/kernel-version.major" "operator" "DoesNotExist" -}}
{{- $ways = list (append $always $capable) (append $always $unseen) -}}
{{- end -}}
{{- $affinity := deepCopy $values.affinity -}}
{{- $node := $affinity.nodeAffinity | default dict -}}
{{- $required := $node.requiredDuringSchedulingIgnoredDuringExecution | default dict -}}
{{- $terms := list -}}
{{- range $term := $required.nodeSelectorTerms | default (list dict) -}}
{{- range $way := $ways -}}
{{- with concat ($term.matchExpressions | default list) $way -}}
{{- $terms = append $terms (merge (dict "matchExpressions" .) $term) -}}
{{- else -}}
{{- with $term }}{{ $terms = append $terms . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $terms -}}
{{- $required = dict "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $terms) -}}
{{- $affinity = merge (dict "nodeAffinity" (merge $required $node)) $affinity -}}
{{- end -}}
{{- with $affinity -}}{{- toYaml . -}}{{- end -}}
{{- end -}}
