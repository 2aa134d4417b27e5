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

{{- /* Where browsers find the service, if that is known: the ingress with TLS of its own says so. */}}
{{- define "siglip2.publicUrl" -}}
{{- if .Values.publicUrl }}{{ .Values.publicUrl }}
{{- else if and .Values.ingress.enabled .Values.ingress.tlsSecret (not (contains "*" .Values.ingress.host)) }}https://{{ .Values.ingress.host }}
{{- end }}
{{- end }}

{{- /* All callers would share the address of the ingress, and the few attempts to sign in that it has. */}}
{{- define "siglip2.trustedProxies" -}}
{{- if .Values.trustedProxies }}{{ join "," .Values.trustedProxies }}
{{- else if .Values.ingress.enabled }}10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7
{{- end }}
{{- end }}
