{{- define "inference.selector" -}}
app.kubernetes.io/name: inference-api
{{- end }}

{{- define "inference.labels" -}}
{{ include "inference.selector" . }}
app.kubernetes.io/part-of: mlplatform
{{- end }}

{{/* Whether there may be more than one. */}}
{{- define "inference.replicated" -}}
{{- if .Values.autoscaling.enabled -}}
{{- if gt (int .Values.autoscaling.minReplicas) 1 }}true{{ end -}}
{{- else if gt (int .Values.replicas) 1 -}}
true
{{- end -}}
{{- end }}
