//! Checks of IMS and Experience Platform.

use std::time::Duration;

use jiff::Timestamp;
use platform::control::{
    ControlClient, ControlError, Dataset, ErrorKind, Kind, SandboxState, field_gaps, resource, tenant_definition,
    usable_sandboxes,
};
use platform::{InletUrl, TokenError};
use reqwest::Url;
use serde_json::{Map, Value};

use super::{Checks, Destination, Level, Line, TIMEOUT, in_time, objects};
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
    let mut lines = vec![clock(checks, api).await];
    let mut destination = Destination::default();
    let token = token(checks).await;
    let has_token = token.as_ref().is_none_or(|line| line.next.is_none());
    lines.extend(token);
    match (&checks.desired.platform, &checks.desired.stage, &checks.clients.platform) {
        (Some(wish), Some(stage), Some(client)) if has_token => {
            let found;
            (found, destination) = objects_of(checks, wish, stage, client).await;
            lines.extend(found);
        }
        _ => {
            let why = match has_token {
                true => "not asked: an option for Experience Platform is missing or invalid",
                false => "not asked: there is no access token",
            };
            lines.extend(
                ["sandbox", "permission", "object", "schema_fields"]
                    .map(|id| Line::skipped(id, "Experience Platform", why)),
            );
        }
    }
    lines.extend(inlet(checks).await);
    (lines, destination)
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
    let tokens = checks.tokens.as_ref()?;
    let asked = "an access token from IMS";
    Some(match in_time(tokens.token()).await {
        None => Line::unanswered("ims", asked, "no answer within 5 s", "check IMS_URL, HTTPS_PROXY and the network"),
        Some(Ok(_)) => Line::good("ims", asked, "granted"),
        Some(Err(error)) => {
            let text = error.to_string();
            let (who, step) = match &error {
                TokenError::Refused { code: Some(code), .. } if code == "invalid_client" => (
                    Who::You,
                    "the client id or secret is wrong, or the secret has expired: copy both from the Developer Console (OAuth Server-to-Server). A credential of the kind Service Account (JWT) was retired on 2025-01-01: create an OAuth Server-to-Server credential",
                ),
                TokenError::Refused { code: Some(code), .. } if code == "invalid_scope" => {
                    (Who::You, "set IMS_SCOPES to the scopes that the Developer Console shows for the credential")
                }
                TokenError::Refused { .. } => {
                    (Who::You, "compare IMS_CLIENT_ID, IMS_CLIENT_SECRET and IMS_SCOPES with the Developer Console")
                }
                TokenError::Secret(_) => (Who::You, "make the file with the secret readable for this user"),
                _ => {
                    return Some(Line::unanswered("ims", asked, text, "check IMS_URL, HTTPS_PROXY and the network"));
                }
            };
            Line::bad("ims", asked, text, who, step)
        }
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
    let mut lines = vec![line];
    // If the sink's options do not contain the ids of this sandbox's objects, events may reach another sandbox. Until
    // the options are compared with these ids, `is_production` is therefore either true or unknown.
    let mut destination = Destination { is_production: is_production.filter(|known| *known), ..Destination::default() };
    // `look_at_platform` sends several requests, each with the client's own time-out.
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

/// Checks that the schema with which Platform validates has every field that this version writes.
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

/// Checks that the sink's variables contain the ids of the plan's objects.
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

/// Checks that the inlet refuses requests without a token. The request contains no messages, so it writes nothing.
async fn inlet(checks: &Checks<'_>) -> Option<Line> {
    let (url, http) = (checks.configured.inlet_url.as_ref()?, checks.http.as_ref()?);
    let asked = "whether the inlet refuses a sender without a token";
    let Ok(inlet) = url.parse::<InletUrl>() else {
        return Some(Line::bad(
            "inlet",
            asked,
            "PLATFORM_INLET_URL is not an inlet's address",
            Who::You,
            "run `customerio-aep setup apply --write-env FILE`",
        ));
    };
    let request =
        http.post(inlet.batch_url().clone()).header("content-type", "application/json").body("{\"messages\":[]}");
    let Some(Ok(answer)) = in_time(request.timeout(TIMEOUT).send()).await else {
        let step = "check that this machine, and the sink's, reach the inlet (firewall, HTTPS_PROXY)";
        return Some(Line::unanswered("inlet", asked, "no answer within 5 s", step));
    };
    Some(match answer.status().as_u16() {
        401 | 403 => Line::good(
            "inlet",
            asked,
            "the inlet refuses requests without a token; only an event proves that it accepts events (`customerio-aep send URL --count 1`, then `customerio-aep find ID`)",
        ),
        404 => Line::bad(
            "inlet",
            asked,
            "the inlet does not exist (HTTP 404)",
            Who::You,
            "run `customerio-aep setup apply --write-env FILE`, and restart the sink",
        ),
        500..=599 => Line::unanswered(
            "inlet",
            asked,
            format!("HTTP {}", answer.status().as_u16()),
            "see status.adobe.com, and try again",
        ),
        status => {
            let found = format!(
                "it takes messages without a token (HTTP {status}): anyone who knows its address can write into the dataset"
            );
            Line::bad(
                "inlet",
                asked,
                found,
                Who::You,
                "set up a connection with authentication: `customerio-aep setup destroy --only platform` and `setup apply`",
            )
        }
    })
}
