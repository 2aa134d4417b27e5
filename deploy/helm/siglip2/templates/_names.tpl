{{- define "siglip2.name" -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "siglip2.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "siglip2.labels" -}}
{{ include "siglip2.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- /* Several processes cannot share a SQLite file, nor count limits in a memory of their own. */ -}}
{{- define "siglip2.check" -}}
{{- if and (or (gt (int .Values.replicas) 1) .Values.autoscaling.enabled) (or (not .Values.database.secret) (not .Values.rateLimits.secret)) -}}
{{- fail "more than one replica needs PostgreSQL and Redis: set database.secret and rateLimits.secret" -}}
{{- end -}}
{{- if and .Values.openid.issuer (not .Values.openid.clientId) -}}
{{- fail "openid.issuer needs openid.clientId" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- fail "ingress.enabled needs ingress.host" -}}
{{- end -}}
{{- end -}}
