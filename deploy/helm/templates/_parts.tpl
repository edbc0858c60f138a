{{/* Labels by which a component is selected. They never change. */}}
{{- define "customerio-aep.selector" -}}
app.kubernetes.io/name: customerio-aep
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "customerio-aep.labels" -}}
{{ include "customerio-aep.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- end }}

{{- define "customerio-aep.image" -}}
{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}

{{/* The variables of a map, as a list with sorted names. */}}
{{- define "customerio-aep.env" -}}
{{- range $name, $value := . }}
- {name: {{ $name }}, value: {{ toString $value | quote }}}
{{- end }}
{{- end }}

{{/* Variables, mounts and volumes of the secrets of one component, as one document. */}}
{{- define "customerio-aep.secrets" -}}
{{- $env := list }}{{ $mounts := list }}{{ $volumes := list }}
{{- range $name, $secret := .root.Values.secrets }}
  {{- if has $.component $secret.services }}
    {{- $folder := printf "/etc/customerio-aep/%s" $name }}
    {{- range $variable, $key := $secret.env }}
      {{- $env = append $env (dict "name" $variable "value" (printf "%s/%s" $folder $key)) }}
    {{- end }}
    {{- $mounts = append $mounts (dict "name" $name "mountPath" $folder "readOnly" true) }}
    {{- $volumes = append $volumes (dict "name" $name "secret" (dict "secretName" $secret.secretName)) }}
  {{- end }}
{{- end }}
{{- toYaml (dict "env" $env "mounts" $mounts "volumes" $volumes) }}
{{- end }}

{{- define "customerio-aep.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "customerio-aep.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The specification of a pod that runs the operator's tool: `component`, `arguments`, `memory`, and whether it restarts. */}}
{{- define "customerio-aep.tool" -}}
{{- $secrets := include "customerio-aep.secrets" . | fromYaml -}}
automountServiceAccountToken: false
restartPolicy: {{ .restartPolicy }}
securityContext: {{ include "customerio-aep.podSecurity" . | nindent 2 }}
containers:
  - name: {{ .component }}
    image: {{ include "customerio-aep.image" .root }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    command: [customerio-aep]
    args: {{ toJson .arguments }}
    env:
      {{- include "customerio-aep.env" .root.Values.env | nindent 6 }}
      {{- with $secrets.env }}{{ toYaml . | nindent 6 }}{{ end }}
    resources: {requests: {cpu: 100m, memory: {{ .memory }}}, limits: {memory: {{ .memory }}}}
    securityContext: {{ include "customerio-aep.containerSecurity" . | nindent 6 }}
    {{- with $secrets.mounts }}
    volumeMounts: {{ toYaml . | nindent 6 }}
    {{- end }}
{{- with $secrets.volumes }}
volumes: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}
