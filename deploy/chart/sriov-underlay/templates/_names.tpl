{{- define "sriov-underlay.chartName" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 56 | trimSuffix "-" -}}
{{- end -}}

{{/* The objects' name: the release's, with the chart's where it is not in there. */}}
{{- define "sriov-underlay.name" -}}
{{- $chart := include "sriov-underlay.chartName" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 56 | trimSuffix "-" -}}
{{- else if contains $chart .Release.Name -}}
{{- .Release.Name | trunc 56 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $chart | trunc 56 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that distinguish this release's pods from another's; a DaemonSet's cannot be changed. */}}
{{- define "sriov-underlay.labels" -}}
app.kubernetes.io/name: {{ include "sriov-underlay.chartName" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels that say what something is. */}}
{{- define "sriov-underlay.about" -}}
app.kubernetes.io/version: {{ include "sriov-underlay.version" . }}
app.kubernetes.io/component: node-agent
app.kubernetes.io/part-of: sriov-underlay
{{- end -}}

{{- define "sriov-underlay.version" -}}
{{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | trimAll "-._" | quote }}
{{- end -}}

{{/* All labels of an object, by who made it too; what is not a pod of the DaemonSets has these. */}}
{{- define "sriov-underlay.allLabels" -}}
{{ include "sriov-underlay.labels" . }}
{{ include "sriov-underlay.about" . }}
{{ include "sriov-underlay.release" . }}
{{- end -}}

{{- define "sriov-underlay.release" -}}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
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
