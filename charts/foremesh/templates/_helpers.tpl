{{/* Name of everything the release makes; short enough for the suffixes. */}}
{{- define "foremesh.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-foremesh" .Release.Name) (contains "foremesh" .Release.Name) -}}
{{- $name | trunc 45 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels that never change: they are part of selectors. Called with (dict "root" $ "component" "operator"). */}}
{{- define "foremesh.selectorLabels" -}}
app.kubernetes.io/name: foremesh
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "foremesh.labels" -}}
{{ include "foremesh.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: foremesh
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end -}}

{{/* What every pod of the chart has in common: no privilege, no writable root, the configuration and etcd's credentials. */}}
{{- define "foremesh.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "foremesh.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "foremesh.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "foremesh.mounts" -}}
- {name: config, mountPath: /etc/foremesh/config.yaml, subPath: config.yaml, readOnly: true}
{{- if .Values.etcd.tlsSecret }}
- {name: etcd-tls, mountPath: /etc/foremesh/etcd, readOnly: true}
{{- end }}
{{- if .Values.dask.tlsSecret }}
- {name: dask-tls, mountPath: /etc/foremesh/dask, readOnly: true}
{{- end }}
- {name: tmp, mountPath: /tmp}
{{- end -}}

{{- define "foremesh.volumes" -}}
- name: config
  configMap: {name: {{ include "foremesh.fullname" . }}-config}
{{- with .Values.etcd.tlsSecret }}
- name: etcd-tls
  secret: {secretName: {{ . | quote }}, defaultMode: 0440}
{{- end }}
{{- with .Values.dask.tlsSecret }}
- name: dask-tls
  secret: {secretName: {{ . | quote }}, defaultMode: 0440}
{{- end }}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- end -}}
