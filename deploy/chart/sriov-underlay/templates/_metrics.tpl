{{/* What the values of `metrics` add to the pod: a proxy before each daemon's port, and what only the proxies see. */}}
{{- define "sriov-underlay.metricsProxies" -}}
{{- $ports := list (list "cni-daemon" .Values.http.cniDaemonPort) }}
{{- if not .Values.operator.enabled }}{{ $ports = prepend $ports (list "device-plugin" .Values.http.devicePluginPort) }}{{ end }}
{{- if eq (include "sriov-underlay.services" .) "serve" }}{{ $ports = append $ports (list "agent" .Values.http.agentPort) }}{{ end }}
{{- range $ports }}
- name: {{ first . }}-metrics
  image: {{ $.Values.metrics.proxy.image }}
  imagePullPolicy: {{ $.Values.image.pullPolicy }}
  args:
    # The daemon has the same port on the loopback.
    - --secure-listen-address=[$(POD_IP)]:{{ last . }}
    - --upstream=http://127.0.0.1:{{ last . }}/
    - --allow-paths=/metrics
    {{- if $.Values.metrics.proxy.tlsSecret }}
    - --tls-cert-file=/etc/tls/tls.crt
    - --tls-private-key-file=/etc/tls/tls.key
    {{- end }}
  env:
    - name: POD_IP
      valueFrom:
        fieldRef:
          fieldPath: status.podIP
  ports:
    - name: {{ first . }}
      containerPort: {{ last . }}
      protocol: TCP
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop:
        - ALL
  resources:
    {{- toYaml $.Values.metrics.proxy.resources | nindent 4 }}
  volumeMounts:
    - name: api-access
      mountPath: /var/run/secrets/kubernetes.io/serviceaccount
      readOnly: true
    {{- if $.Values.metrics.proxy.tlsSecret }}
    - name: metrics-tls
      mountPath: /etc/tls
      readOnly: true
    {{- end }}
{{- end }}
{{- end -}}

{{- define "sriov-underlay.metricsVolumes" -}}
# The proxies' token for TokenReview and SubjectAccessReview, as the kubelet would mount it into every container.
- name: api-access
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
{{- with .Values.metrics.proxy.tlsSecret }}
- name: metrics-tls
  secret:
    secretName: {{ . }}
{{- end }}
{{- end -}}

{{/* Values that contradict each other, with the one to change. */}}
{{- define "sriov-underlay.metricsChecks" -}}
{{- with .Values.metrics -}}
{{- if and .proxy.enabled (not $.Values.http.enabled) -}}
{{- fail "metrics.proxy.enabled needs http.enabled: without it the daemons serve no metrics" -}}
{{- end -}}
{{- if and .proxy.enabled (not .proxy.image) -}}
{{- fail "metrics.proxy.enabled needs metrics.proxy.image: name an image of kube-rbac-proxy that your nodes can pull" -}}
{{- end -}}
{{- if hasSuffix ":latest" .proxy.image -}}
{{- fail "metrics.proxy.image is latest: two nodes would run two programs, name a version" -}}
{{- end -}}
{{- if and .podMonitor.enabled (not .proxy.enabled) -}}
{{- fail "metrics.podMonitor.enabled needs metrics.proxy.enabled: the daemons listen on the node's loopback, which Prometheus does not reach" -}}
{{- end -}}
{{- if and .podMonitor.ca (not .proxy.tlsSecret) -}}
{{- fail "metrics.podMonitor.ca needs metrics.proxy.tlsSecret: a certificate that the proxy makes for itself is signed by nobody" -}}
{{- end -}}
{{- if and .proxy.tlsSecret .podMonitor.enabled (not (and .podMonitor.ca .podMonitor.serverName)) -}}
{{- fail "metrics.proxy.tlsSecret needs metrics.podMonitor.ca and metrics.podMonitor.serverName: Prometheus has to know who signed the certificate, and for which name" -}}
{{- end -}}
{{- end -}}
{{- end -}}
