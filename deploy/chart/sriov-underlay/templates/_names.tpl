{{/* The objects' name: the release's, with the chart's where it is not in there. */}}
{{- define "sriov-underlay.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 56 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 56 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that distinguish this release's pods from another's; a DaemonSet's cannot be changed. */}}
{{- define "sriov-underlay.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sriov-underlay.image" -}}
{{- $version := .Values.image.tag | default .Chart.AppVersion -}}
{{- .Values.image.repository }}:{{ $version }}{{ with .Values.image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* The probes of a container, by its port. */}}
{{- define "sriov-underlay.probes" -}}
startupProbe:
  httpGet:
    host: 127.0.0.1
    port: {{ . }}
    path: /healthz
  periodSeconds: 1
  failureThreshold: 60
readinessProbe:
  httpGet:
    host: 127.0.0.1
    port: {{ . }}
    path: /readyz
  periodSeconds: 10
  timeoutSeconds: 5
livenessProbe:
  httpGet:
    host: 127.0.0.1
    port: {{ . }}
    path: /healthz
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 3
{{- end -}}
