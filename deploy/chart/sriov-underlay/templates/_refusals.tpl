{{/* Values that cannot go together, or that no schema can refuse with words of its own. */}}
{{- define "sriov-underlay.refusals" -}}
{{- if eq .Values.image.tag "latest" }}
{{- fail "image.tag is latest: two nodes would run two programs, name a version" }}
{{- end }}
{{- if eq (int .Values.http.devicePluginPort) (int .Values.http.cniDaemonPort) }}
{{- fail (printf "http.devicePluginPort and http.cniDaemonPort are both %d: both are on the node's loopback, give two" (int .Values.http.cniDaemonPort)) }}
{{- end }}
{{- if and .Values.services.enabled (has (int .Values.http.agentPort) (list (int .Values.http.devicePluginPort) (int .Values.http.cniDaemonPort))) }}
{{- fail (printf "http.agentPort is %d, which another program has: all are on the node's loopback, give another" (int .Values.http.agentPort)) }}
{{- end }}
{{- if and .Values.services.enabled .Values.services.uninstall }}
{{- fail "services.uninstall ends what services.enabled starts: set one of them to false" }}
{{- end }}
{{- if and .Values.policies.enabled (not .Values.services.enabled) }}
{{- fail "policies.enabled needs the agent: set services.enabled to true, too" }}
{{- end }}
{{- if and .Values.policies.multi (not .Values.policies.enabled) }}
{{- fail "policies.multi without policies.enabled watches nothing: set both to true" }}
{{- end }}
{{- $claimed := include "sriov-underlay.draResources" . | fromJsonArray }}
{{- if and $claimed (not .Values.dra.enabled) }}
{{- fail (printf "config has publish: dra of %s, and dra.enabled is false: nobody would offer these VFs, set it to true" (join ", " $claimed)) }}
{{- end }}
{{- if and .Values.dra.extendedResources (not .Values.dra.deviceClasses) }}
{{- fail "dra.extendedResources is a field of the classes that dra.deviceClasses makes: set both to true" }}
{{- end }}
{{- if .Values.operator.enabled }}
{{- range $value, $set := dict "cni.replaceIncumbent" .Values.cni.replaceIncumbent "cni.uninstall" .Values.cni.uninstall "cdi.enabled" .Values.cdi.enabled "dra.enabled" .Values.dra.enabled }}
{{- if $set }}
{{- fail (printf "%s is true with operator.enabled: the operator brings shim and device plugin, set one of them to false" $value) }}
{{- end }}
{{- end }}
{{- range $group, $own := .Values.nodeGroups }}
{{- if hasKey $own "config" }}
{{- fail (printf "nodeGroups.%s.config with operator.enabled: the operator writes the device plugin's configuration, leave it out" $group) }}
{{- end }}
{{- end }}
{{- end }}
{{- if hasKey .Values.nodeSelector .Values.nodeGroupLabel }}
{{- fail (printf "nodeSelector has %s, the label of nodeGroups: only one of them can choose the nodes, name the group in nodeGroups" .Values.nodeGroupLabel) }}
{{- end }}
{{- range $group, $_ := .Values.nodeGroups }}
{{- if not (regexMatch "^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$" $group) }}
{{- fail (printf "nodeGroups.%s: a group's name is part of objects' names and a label's value, use 1 to 30 lower-case letters, digits and -" $group) }}
{{- end }}
{{- if and $.Values.dra.enabled (regexMatch "(^|-)dra$" $group) }}
{{- fail (printf "nodeGroups.%s: with dra.enabled a DaemonSet of this name is the driver's, take a name for the group that does not end with dra" $group) }}
{{- end }}
{{- if has $group (list "policy" "dashboard") }}
{{- fail (printf "nodeGroups.%s: the chart has a ConfigMap of this name, take another name for the group" $group) }}
{{- end }}
{{- end }}
{{- $configs := dict "config" .Values.config }}
{{- range $group, $own := .Values.nodeGroups }}{{ $_ := set $configs (printf "nodeGroups.%s.config" $group) $own.config }}{{ end }}
{{- range $place, $config := $configs }}
{{- $names := include "sriov-underlay.resources" (dict "config" $config "prefix" $.Values.resourcePrefix) | fromJsonArray | sortAlpha }}
{{- range $number, $name := $names }}
{{- if and $number (eq $name (index $names (sub $number 1))) }}
{{- fail (printf "%s.resourceList has %s twice: give each resource its own name, or join them into one with a list of selectors" $place $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $key, $_ := .Values.podLabels }}
{{- if regexMatch "^(app.kubernetes.io/(name|instance|version|component|part-of)|pod-template-generation|controller-revision-hash)$" $key }}
{{- fail (printf "podLabels.%s: the chart or Kubernetes sets this label, take another key" $key) }}
{{- end }}
{{- end }}
{{- end -}}
