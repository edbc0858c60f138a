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

{{/*
The specification of a pod: `root`, `component`, the values of the component as `own`, its variables as the list `env`, and
the chart's fields of the container and of the pod as `container` and `pod`. The values are merged over these fields; their
lists env, volumeMounts, volumes and containers are added.
*/}}
{{- define "customerio-aep.pod" -}}
{{- $secrets := include "customerio-aep.secrets" . | fromYaml }}
{{- $own := .own }}
{{- $container := dict
  "name" .component
  "image" (include "customerio-aep.image" .root)
  "imagePullPolicy" .root.Values.image.pullPolicy
  "securityContext" (include "customerio-aep.containerSecurity" . | fromYaml) }}
{{- $container = mergeOverwrite $container (omit .container "volumeMounts" | deepCopy) (omit $own.containerSpec "env" "volumeMounts" | deepCopy) }}
{{- $mounts := concat (.container.volumeMounts | default list) $secrets.mounts ($own.containerSpec.volumeMounts | default list) }}
{{- $_ := set $container "env" (concat .env $secrets.env ($own.containerSpec.env | default list)) }}
{{- if $mounts }}{{ $_ := set $container "volumeMounts" $mounts }}{{ end }}
{{- $pod := dict
  "automountServiceAccountToken" false
  "securityContext" (include "customerio-aep.podSecurity" . | fromYaml) }}
{{- $pod = mergeOverwrite $pod (omit .pod "volumes" | deepCopy) (omit $own.podSpec "volumes" "containers" | deepCopy) }}
{{- $volumes := concat (.pod.volumes | default list) $secrets.volumes ($own.podSpec.volumes | default list) }}
{{- if $volumes }}{{ $_ := set $pod "volumes" $volumes }}{{ end }}
{{- $_ := set $pod "containers" (prepend ($own.podSpec.containers | default list) $container) }}
{{- toYaml $pod }}
{{- end }}

{{- define "customerio-aep.podLabels" -}}
{{ mergeOverwrite (include "customerio-aep.labels" . | fromYaml) .own.podLabels | toYaml }}
{{- end }}

{{/*
The variables of a pod that runs the operator's tool, as a list: those of all services; those of the services in `from`
(limited to the names in `only`, if there are any), because the tool has to work as they do; and its own. What a service has
to itself, such as its user of Kafka, is left out. The groups of transformer and sink have other names here.
*/}}
{{- define "customerio-aep.toolEnv" -}}
{{- $env := deepCopy .root.Values.env }}
{{- $from := .from }}{{ $only := .only | default list }}
{{- $ofProcess := list "ADMIN_LISTEN" "GATEWAY_LISTEN" "LOG_FORMAT" "LOG_LEVEL" "SHUTDOWN_TIMEOUT" "TOKIO_WORKER_THREADS" "TRANSFORMER_INSTANCE" }}
{{- range $component, $service := .root.Values.services }}
  {{- range $name, $value := $service.env }}
    {{- if and (eq $name "KAFKA_GROUP_ID") (ne $component "ingest-gateway") }}
      {{- $_ := set $env (printf "%s_GROUP_ID" (upper $component)) $value }}
    {{- else if and (has $component $from) (or (empty $only) (has $name $only)) (not (hasPrefix "KAFKA_" $name)) (not (has $name $ofProcess)) }}
      {{- $_ := set $env $name $value }}
    {{- end }}
  {{- end }}
{{- end }}
{{- include "customerio-aep.env" (mergeOverwrite $env (.defaults | default dict) .own.env) }}
{{- end }}

{{/* The admin addresses of all services, at which the tool and the console ask each pod. */}}
{{- define "customerio-aep.adminAddresses" -}}
{{ $name := .Release.Name -}}
{{ $name }}-ingest-gateway-admin:9464,{{ $name }}-transformer-admin:9465,{{ $name }}-sink-admin:9466
{{- end }}
