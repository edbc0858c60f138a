//! Checks of IMS and Experience Platform.

use std::time::Duration;

use jiff::Timestamp;
use platform::control::{
    ControlClient, ControlError, Dataset, ErrorKind, Kind, SandboxState, field_gaps, resource, tenant_definition,
    usable_sandboxes,
};
use platform::{CredentialNames, Grant, InletUrl, TokenError};
use reqwest::Url;
use serde_json::{Map, Value};

use super::{Checks, Destination, Level, Line, TIMEOUT, in_time, inlet, objects};
use crate::desired::{Desired, Permit, PlatformWish};
use crate::key::{Key, Target};
use crate::look::look_at_platform;
use crate::observed::{Observed, ObservedPlatform};
use crate::plan::{Plan, plan};
use crate::stage::Stage;
use crate::values::PlatformValues;
use crate::who::Who;
use crate::xdm_files::field_group;

/// Maximum accepted difference between the clocks of this machine and Platform.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);

pub(super) async fn check(checks: &Checks<'_>) -> (Vec<Line>, Destination) {
    let Some(api) = &checks.platform_api else { return (Vec::new(), Destination::default()) };
    let (clock, (found, destination)) = tokio::join!(clock(checks, api), token_and_objects(checks));
    let inlet = inlet::check(checks, destination.is_production).await;
    (std::iter::once(clock).chain(found).chain(inlet).collect(), destination)
}

async fn token_and_objects(checks: &Checks<'_>) -> (Vec<Line>, Destination) {
    let token = token(checks).await;
    let has_token = token.as_ref().is_none_or(|line| line.next.is_none());
    let mut lines: Vec<Line> = token.into_iter().collect();
    let destination = match (&checks.desired.platform, &checks.desired.stage, &checks.clients.platform) {
        (Some(wish), Some(stage), Some(client)) if has_token => {
            let (found, destination) = objects_of(checks, wish, stage, client).await;
            lines.extend(found);
            destination
        }
        _ => {
            let why = match has_token {
                true => "not asked: an option for Experience Platform is missing or invalid",
                false => "not asked: there is no access token",
            };
            lines.push(Line::skipped("sandbox", "Experience Platform", why));
            lines.extend(not_asked(why));
            Destination::default()
        }
    };
    (lines, destination)
}

/// The skipped lines for a sandbox whose content was not read. `why` is the reason.
fn not_asked(why: &str) -> [Line; 3] {
    ["permission", "object", "schema_fields"].map(|id| Line::skipped(id, "Experience Platform", why))
}

/// Compares this machine's clock with the `Date` header of a response.
async fn clock(checks: &Checks<'_>, api: &Url) -> Line {
    let asked = "the clock of this machine";
    let skipped = |why: &str| Line::skipped("clock", asked, why);
    let Some(http) = &checks.http else { return skipped("not compared") };
    let Some(Ok(answer)) = in_time(http.get(api.clone()).timeout(TIMEOUT).send()).await else {
        let step = "check PLATFORM_API_URL, HTTPS_PROXY and the network";
        return Line::unanswered("clock", "Platform's address", "no answer within 5 s", step);
    };
    let date = answer.headers().get("date").and_then(|value| value.to_str().ok());
    let Some(theirs) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) else {
        return skipped("the answer names no time");
    };
    let ahead = Timestamp::now().duration_since(theirs.timestamp());
    if ahead.unsigned_abs() <= CLOCK_DIFFERENCE {
        return Line::good("clock", asked, "it agrees with Platform's");
    }
    let which = if ahead.is_positive() { "ahead of" } else { "behind" };
    let found = format!("it is {} s {which} Platform's", ahead.as_secs().abs());
    Line::bad("clock", asked, found, Who::You, "set the clock (NTP): signatures, tokens and receive times depend on it")
}

async fn token(checks: &Checks<'_>) -> Option<Line> {
    const ASKED: &str = "an access token from IMS";
    let tokens = checks.tokens.as_ref()?;
    let step = "check IMS_URL, HTTPS_PROXY and the network";
    Some(match in_time(tokens.grant()).await {
        None => Line::unanswered("ims", ASKED, "no answer within 5 s", step),
        Some(Ok(grant)) => Line::good("ims", ASKED, granted(&grant, tokens.names(), checks.desired.stage.as_ref())),
        Some(Err(error)) => match refusal_step(&error, tokens.names()) {
            Some(step) => Line::bad("ims", ASKED, error.to_string(), Who::You, step),
            None => Line::unanswered("ims", ASKED, error.to_string(), step),
        },
    })
}

/// Text about a granted token: its expiry, its scopes, and the configured organisation. A token does not contain its
/// own organisation in a documented form, so only a request to Platform proves that the configured one is right.
fn granted(grant: &Grant, names: CredentialNames, stage: Option<&Stage>) -> String {
    let minutes = grant.expires_in.as_secs() / 60;
    let organisation = match stage {
        Some(stage) => {
            format!("{} (PLATFORM_IMS_ORG; the next line shows whether it is the credential's)", stage.organisation)
        }
        None => "not known (PLATFORM_IMS_ORG)".to_owned(),
    };
    format!(
        "granted; it expires in {} h {} min; scopes ({}): {}; organisation: {organisation}",
        minutes / 60,
        minutes % 60,
        names.scopes,
        grant.scopes.split(',').map(str::trim).collect::<Vec<_>>().join(", ")
    )
}

/// The next step if IMS refused the credential or the secret could not be read; `None` if a repeated request can
/// succeed.
fn refusal_step(error: &TokenError, names: CredentialNames) -> Option<String> {
    let CredentialNames { client_id, client_secret, scopes } = names;
    Some(match error {
        TokenError::Refused { code: Some(code), .. } if code == "invalid_client" => format!(
            "the client id or secret is wrong, or the secret has expired: copy both from the Developer Console (OAuth Server-to-Server) into {client_id} and {client_secret}. A credential of the kind Service Account (JWT) was retired on 2025-01-01: create an OAuth Server-to-Server credential"
        ),
        TokenError::Refused { code: Some(code), .. } if code == "invalid_scope" => {
            format!("set {scopes} to the scopes that the Developer Console shows for the credential")
        }
        TokenError::Refused { .. } => {
            format!("compare {client_id}, {client_secret} and {scopes} with the Developer Console")
        }
        TokenError::Secret(_) => format!("make the file with {client_secret} readable for this user"),
        TokenError::NoAnswer(_) | TokenError::Unavailable(_) | TokenError::Unusable(_) => return None,
    })
}

fn failed(id: &'static str, asked: &str, error: &ControlError) -> Line {
    let remedy = error.remedy();
    let is_unanswered = matches!(
        &*error.kind,
        ErrorKind::Unreachable(_)
            | ErrorKind::Unavailable(_)
            | ErrorKind::RateLimited { .. }
            | ErrorKind::Unreadable(_)
    );
    let text = error.kind.to_string();
    if is_unanswered {
        return Line::unanswered(id, asked, text, remedy.step);
    }
    let mut step = remedy.step;
    if matches!(&*error.kind, ErrorKind::Unauthorized(_) | ErrorKind::Forbidden(_)) && !step.contains("15 minutes") {
        step.push_str("; a new role can take 15 minutes: `check --wait`");
    }
    Line::bad(id, asked, text, remedy.who.into(), step)
}

async fn objects_of(
    checks: &Checks<'_>,
    wish: &PlatformWish,
    stage: &Stage,
    client: &ControlClient,
) -> (Vec<Line>, Destination) {
    let (line, is_production) = sandbox(stage, client).await;
    let is_silent = line.level == Level::Unanswered;
    let mut lines = vec![line];
    if is_silent {
        lines.extend(not_asked("not asked: Platform did not answer the request for the sandbox"));
        return (lines, Destination::default());
    }
    // The sink's options may contain the ids of objects in another sandbox. Events then reach that sandbox. Therefore,
    // "not a production sandbox" counts as unknown until the options have been compared with this sandbox's objects.
    let mut destination = Destination { is_production: is_production.filter(|known| *known), ..Destination::default() };
    // `look_at_platform` sends several requests, each with the client's own time-out. This limit ends a look in which
    // every answer arrives in time but all of them are slow.
    let observed = match tokio::time::timeout(4 * TIMEOUT, look_at_platform(client, stage, wish, checks.journal)).await
    {
        Ok(Ok(observed)) => observed,
        Ok(Err(error)) => {
            lines.push(failed("object", &format!("{} {}", error.method, error.path), &error));
            return (lines, destination);
        }
        Err(_) => {
            let step = "try again; see status.adobe.com";
            lines.push(Line::unanswered("object", "the objects in the sandbox", "no answer within 20 s", step));
            return (lines, destination);
        }
    };
    let desired = Desired { topics: None, subject: None, webhooks: Vec::new(), ..checks.desired.clone() };
    let all = Observed { platform: Some(observed.clone()), ..Observed::default() };
    let planned = plan(&desired, &all, &Permit::default());
    lines.extend(permissions(&planned));
    lines.extend(objects::lines(&planned, Target::Platform, "object"));
    if let Some(error) = &observed.failure {
        lines.push(failed("object", &format!("{} {}", error.method, error.path), error));
        lines.extend(not_compared());
        return (lines, destination);
    }
    lines.extend(schema_fields(stage, client, &planned, &observed).await);
    if let Some(values) = PlatformValues::of(stage, &planned, &all, checks.settling) {
        let compared = configuration(checks, &values);
        let is_ours = compared.iter().all(|line| line.level == Level::Good);
        lines.extend(compared);
        lines.extend(settling(&values));
        if is_ours {
            destination.is_production = is_production;
        }
        let datasets = observed.objects.iter().flat_map(|objects| &objects.datasets);
        let dataset = datasets.into_iter().find(|dataset| dataset.id == values.dataset_id);
        destination.has_profile = dataset.map(Dataset::is_profile_enabled);
        destination.not_before = values.not_before;
        destination.flow_id = Some(values.flow_id);
    }
    (lines, destination)
}

/// The lines about everything that would be compared with the objects in the sandbox.
fn not_compared() -> [Line; 3] {
    let why = "not compared: the objects in the sandbox could not be read";
    [
        ("schema_fields", "whether the schema has every field that this version writes"),
        ("configuration", "the sink's configuration"),
        ("settling", "when the flow and schema were last changed"),
    ]
    .map(|(id, asked)| Line::skipped(id, asked, why))
}

/// The line about the sandbox, and whether the sandbox is a production sandbox.
async fn sandbox(stage: &Stage, client: &ControlClient) -> (Line, Option<bool>) {
    let asked = format!("the sandbox {}", stage.sandbox);
    let sandboxes = match in_time(client.list(&usable_sandboxes())).await {
        None => {
            let step = "check PLATFORM_API_URL and the network";
            return (Line::unanswered("sandbox", asked, "no answer within 5 s", step), None);
        }
        Some(Err(error)) => return (failed("sandbox", &asked, &error), None),
        Some(Ok(sandboxes)) => sandboxes,
    };
    let Some(found) = sandboxes.iter().find(|sandbox| sandbox.name == stage.sandbox.as_str()) else {
        let names: Vec<_> = sandboxes.iter().map(|sandbox| sandbox.name.as_str()).collect();
        let step = format!(
            "Please add the API credential to a role that has the sandbox `{}` (Permissions > Roles); a new role can take 15 minutes: `check --wait`",
            stage.sandbox
        );
        let found = format!("this credential may not use it; it may use: {}", names.join(", "));
        return (Line::bad("sandbox", asked, found, Who::AdobeAdministrator, step), None);
    };
    let kind = if found.is_production() { "production" } else { "development" };
    let region = found.region.as_deref().unwrap_or("unknown");
    let text = format!("{}, {kind}, region {region}", found.state);
    let line = match found.state {
        SandboxState::Active | SandboxState::Unknown => Line::good("sandbox", asked, text),
        _ => Line::bad("sandbox", asked, text, Who::AdobeAdministrator, "wait until it is active"),
    };
    (line, Some(found.is_production()))
}

fn permissions(planned: &Plan) -> Vec<Line> {
    let line = |permission: &crate::plan::Permission| {
        let asked = format!("the permission {}", permission.title);
        match permission.granted {
            Some(true) => Line::good("permission", asked, "granted"),
            None => Line::note("permission", asked, "Platform does not say"),
            Some(false) => {
                let step = format!(
                    "Please add the permission {} to the role of this API credential (Permissions > Roles); a new role can take 15 minutes: `check --wait`",
                    permission.title
                );
                Line::bad("permission", asked, "missing", Who::AdobeAdministrator, step)
            }
        }
    };
    planned.permissions.iter().map(line).collect()
}

/// Checks that the schema in Platform, with the fields of its field groups, has every field that this version writes.
async fn schema_fields(
    stage: &Stage,
    client: &ControlClient,
    planned: &Plan,
    observed: &ObservedPlatform,
) -> Option<Line> {
    let id = planned.object(&Key::Schema)?.id.clone()?;
    let asked = "whether the schema has every field that this version writes";
    let resolved = match in_time(client.send(&resource(Kind::Schema, &id, true))).await {
        None => return Some(Line::unanswered("schema_fields", asked, "no answer within 5 s", "try again")),
        Some(Err(error)) => return Some(failed("schema_fields", asked, &error)),
        Some(Ok(resolved)) => resolved,
    };
    let body = field_group(&observed.tenant, stage, &stage.shared_mark());
    let (_, wanted) = tenant_definition(&body.definitions, &observed.tenant);
    let empty = Map::new();
    let found = resolved.document.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let gaps = field_gaps(wanted.unwrap_or(&empty), found);
    Some(match gaps.as_slice() {
        [] => Line::good("schema_fields", asked, "it has"),
        gaps => {
            let names: Vec<_> = gaps.iter().take(5).map(|gap| gap.path.as_str()).collect();
            let found = format!("{} are missing or have another type, such as {}", gaps.len(), names.join(", "));
            Line::bad(
                "schema_fields",
                asked,
                found,
                Who::You,
                "hold the sinks (`customerio-aep setup sink hold`) and run `customerio-aep setup apply --sinks-held`",
            )
        }
    })
}

/// Checks that the sink's variables contain the inlet and the ids of the plan's objects.
fn configuration(checks: &Checks<'_>, values: &PlatformValues) -> Vec<Line> {
    let inlet = |url: &str| url.parse::<InletUrl>().map(|inlet| inlet.batch_url().to_string()).unwrap_or_default();
    let configured = &checks.configured;
    let compared = [
        ("PLATFORM_INLET_URL", configured.inlet_url.as_deref().map(inlet), inlet(&values.inlet_url)),
        ("PLATFORM_SCHEMA_ID", configured.schema_id.clone(), values.schema_id.clone()),
        ("PLATFORM_DATASET_ID", configured.dataset_id.clone(), values.dataset_id.clone()),
        ("PLATFORM_FLOW_ID", configured.flow_id.clone(), values.flow_id.clone()),
    ];
    let step = "run `customerio-aep setup apply --write-env FILE`, and restart the sink";
    let line = |(variable, configured, found): (&str, Option<String>, String)| {
        let asked = format!("{variable} of the sink");
        match configured {
            Some(value) if value == found => Line::good("configuration", asked, "it names this stage's object"),
            Some(_) => Line::bad(
                "configuration",
                asked,
                format!("it names another object; this stage's is {found}"),
                Who::You,
                step,
            ),
            None => Line::bad("configuration", asked, "it is not set", Who::You, step),
        }
    };
    compared.into_iter().map(line).collect()
}

fn settling(values: &PlatformValues) -> Option<Line> {
    let until = values.not_before.filter(|until| *until > Timestamp::now())?;
    let found = format!("Platform loses events until {until}: a flow or schema was changed a moment ago");
    Some(Line::note("settling", "when the flow and schema were last changed", found))
}
