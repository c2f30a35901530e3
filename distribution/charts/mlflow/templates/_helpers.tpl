{{- define "mlflow.labels" -}}
{{ include "mlflow.selector" . }}
app.kubernetes.io/part-of: mlplatform
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "mlflow.selector" -}}
app.kubernetes.io/name: mlflow
{{- end }}

{{- define "mlflow.login.labels" -}}
{{ include "mlflow.login.selector" . }}
app.kubernetes.io/part-of: mlplatform
{{- end }}

{{- define "mlflow.login.selector" -}}
app.kubernetes.io/name: mlflow-login
{{- end }}

{{/* The container's: the Pod Security level "restricted", and a root filesystem that is not written to. */}}
{{- define "mlflow.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop:
    - ALL
{{- end }}

{{/* Names at which the server is asked for: those of its Service, localhost, that of the login, and what the values add. */}}
{{- define "mlflow.allowedHosts" -}}
{{- $service := .Values.service.name -}}
{{- $namespace := .Release.Namespace -}}
{{- $own := list $service (printf "%s.%s" $service $namespace) (printf "%s.%s.svc" $service $namespace) (printf "%s.%s.svc.cluster.local" $service $namespace) "localhost:*" -}}
{{- if .Values.login.enabled -}}
{{- $public := regexReplaceAll "^https?://" .Values.login.url "" -}}
{{- $own = append $own $public -}}
{{- end -}}
{{- concat $own .Values.allowedHosts | join "," -}}
{{- end }}

{{- define "mlflow.backendStore" -}}
{{- if eq .Values.database.type "sqlite" -}}
sqlite:////data/mlflow.db
{{- else -}}
{{- with .Values.database.postgresql -}}
postgresql://{{ .host }}:{{ .port }}/{{ .name }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What reads the database and the bucket: the migration and the server. */}}
{{- define "mlflow.environment" -}}
envFrom:
  - configMapRef:
      name: mlflow-config
  {{- with .Values.aws.credentialsSecret }}
  - secretRef:
      name: {{ . }}
  {{- end }}
env:
  # The image has no home for this user.
  - name: HOME
    value: /tmp
  {{- if eq .Values.database.type "postgresql" }}
  {{- with .Values.database.postgresql }}
  # They reach the client library as they are: nothing to escape, and no password in an address.
  - name: PGUSER
    valueFrom:
      secretKeyRef:
        name: {{ .secret }}
        key: {{ .userKey }}
  - name: PGPASSWORD
    valueFrom:
      secretKeyRef:
        name: {{ .secret }}
        key: {{ .passwordKey }}
  {{- end }}
  {{- end }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- if eq .Values.database.type "sqlite" }}
  - name: data
    mountPath: /data
  {{- end }}
{{- end }}
