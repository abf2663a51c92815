{{/* Labels of what is for claims: the driver's pods are none of the DaemonSet with the CNI daemon. */}}
{{- define "sriov-underlay.draPodLabels" -}}
app.kubernetes.io/name: {{ include "sriov-underlay.chartName" .root }}-dra
app.kubernetes.io/instance: {{ .root.Release.Name }}{{ with .group }}_{{ . }}{{ end }}
{{- end -}}

{{- define "sriov-underlay.draAbout" -}}
app.kubernetes.io/version: {{ include "sriov-underlay.version" . }}
app.kubernetes.io/component: dra-driver
app.kubernetes.io/part-of: sriov-underlay
{{- end -}}

{{- define "sriov-underlay.draLabels" -}}
{{ include "sriov-underlay.draPodLabels" (dict "root" .) }}
{{ include "sriov-underlay.draAbout" . }}
{{ include "sriov-underlay.release" . }}
{{- end -}}

{{/* Names of the resources that are for claims, of all nodes and of the groups, each once, as JSON. */}}
{{- define "sriov-underlay.draResources" -}}
{{- $configs := list .Values.config -}}
{{- range $group, $own := .Values.nodeGroups }}{{ with $own.config }}{{ $configs = append $configs . }}{{ end }}{{ end -}}
{{- $names := list -}}
{{- range $config := $configs -}}
{{- range $key, $list := $config -}}
{{- range $resource := $list -}}
{{- $lower := dict -}}
{{- range $one, $value := $resource }}{{ $_ := set $lower (lower $one) $value }}{{ end -}}
{{- if eq ($lower.publish | default "") "dra" -}}
{{- $names = append $names (printf "%s/%s" ($lower.resourceprefix | default $.Values.resourcePrefix) $lower.resourcename) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $names | uniq | sortAlpha | toJson -}}
{{- end -}}
