//! Helpers that the tests of several modules share.

use std::sync::{Arc, LazyLock, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use clap::{FromArgMatches, Parser};
use contract::Position;
use contract::dead_letter::Resolution;
use http_body_util::BodyExt;
use mapping::SourceOptions;
use operator::dead_letters::Unresolved;
use operator::find::{StepRecord, StoredRecord, Timeline};
use operator::status::{Asked, Look, Outside, TopicState};
use setup::check::Line;
use setup::plan_file::PlanFile;
use tower::ServiceExt;
use xdm::TenantId;

use crate::access::{NewUser, Role, add_user};
use crate::action_log::{ActionLog, Entry};
use crate::config::{ConsoleArgs, Settings};
use crate::connect::{Answering, Changed, Connect, ConnectSource, Part, Seen, TestEvent};
use crate::dead_letters::{DeadLetterSource, DeadLetters, EndedEarly, Found, OnRead, Order, Summary};
use crate::events::{EventSource, Events, Listener, Search};
use crate::jobs::Job;
use crate::overview::{Overview, StatusSource};
use crate::proof::{AuditSource, Finished, Proof, Range};
use crate::router::router;
use crate::state::{Console, Screens};

pub(crate) use self::folder::Folder;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    console: ConsoleArgs,
}

/// Returns the settings for these command-line options.
pub(crate) fn settings(given: &[&str]) -> Settings {
    let command = settings::Variables::none().apply(<Command as clap::CommandFactory>::command());
    let matches = command.get_matches_from([&["console"], given].concat());
    Command::from_arg_matches(&matches).unwrap().console.validate().unwrap()
}

/// Header Host of the requests of a test.
pub(crate) const HOST: &str = "localhost:8088";
/// Secret of the proxy that authenticates the users of a test.
const SECRET: &str = "0123456789abcdef";
/// Current time of a test: milliseconds since 1970.
pub(crate) const NOW: i64 = 1_700_000_000_000;

/// Source without data for every screen: its methods never return, or return nothing or an error.
#[derive(Debug)]
pub(crate) struct Silent;

impl StatusSource for Silent {
    fn look(&self) -> Answering<'_, Look> {
        Box::pin(std::future::pending())
    }

    fn topics(&self) -> Answering<'_, Asked<TopicState>> {
        Box::pin(std::future::pending())
    }

    fn outside(&self) -> Answering<'_, Outside> {
        Box::pin(std::future::pending())
    }
}

impl EventSource for Silent {
    fn find<'a>(&'a self, _: &'a Search, _: &'a Job) -> Answering<'a, Result<Vec<Timeline>, String>> {
        Box::pin(async { Err("nothing is configured".to_owned()) })
    }

    fn stored<'a>(&'a self, _: StepRecord, _: &'a Job) -> Answering<'a, Result<Option<StoredRecord>, String>> {
        Box::pin(async { Err("nothing is configured".to_owned()) })
    }

    fn tail(&self, _: Arc<dyn Listener>) -> Answering<'_, Result<(), String>> {
        Box::pin(async { Err("nothing is configured".to_owned()) })
    }

    fn options(&self, _: Option<&str>) -> Option<SourceOptions> {
        None
    }

    fn tenant(&self) -> &TenantId {
        &TENANT
    }

    fn max_body(&self) -> usize {
        0
    }
}

/// Tenant id of a test: the key under which an XDM event contains the organisation's own fields.
pub(crate) static TENANT: LazyLock<TenantId> = LazyLock::new(|| "acme".parse().unwrap());

impl AuditSource for Silent {
    fn audit<'a>(&'a self, _: Range, _: &'a Job) -> Answering<'a, Result<Finished, String>> {
        Box::pin(std::future::pending())
    }
}

impl DeadLetterSource for Silent {
    fn read<'a>(&'a self, _: &'a Mutex<Unresolved>, _: OnRead<'a>) -> Answering<'a, Result<bool, String>> {
        Box::pin(async { Ok(true) })
    }

    fn show(&self, _: Position) -> Answering<'_, Result<Option<Found>, String>> {
        Box::pin(async { Ok(None) })
    }

    fn resolution(&self, _: Position) -> Answering<'_, Result<Option<Resolution>, String>> {
        Box::pin(async { Ok(None) })
    }

    fn carry_out<'a>(&'a self, _: &'a Order, _: &'a Job) -> Answering<'a, Result<Summary, EndedEarly>> {
        Box::pin(std::future::pending())
    }
}

impl ConnectSource for Silent {
    fn check(&self, _: Part) -> Answering<'_, Vec<Line>> {
        Box::pin(async { Vec::new() })
    }

    fn plan(&self) -> Answering<'_, Result<Seen, String>> {
        Box::pin(async { Err("nothing is configured".to_owned()) })
    }

    fn apply<'a>(
        &'a self,
        _: &'a PlanFile,
        _: Option<String>,
        _: &'a mut (dyn FnMut(String) + Send),
    ) -> Answering<'a, Result<Changed, String>> {
        Box::pin(async { Err("nothing is configured".to_owned()) })
    }

    fn pause<'a>(&'a self, _: &'a str) -> Answering<'a, Result<bool, String>> {
        Box::pin(async { Err("nothing is configured".to_owned()) })
    }

    fn resume<'a>(&'a self, _: &'a str) -> Answering<'a, Result<Vec<String>, String>> {
        Box::pin(async { Err("nothing is configured".to_owned()) })
    }

    fn send<'a>(&'a self, _: &'a TestEvent) -> Answering<'a, Result<(), String>> {
        Box::pin(async { Err("nothing is configured".to_owned()) })
    }
}

/// Returns screens without data.
pub(crate) fn screens() -> Screens {
    Screens {
        overview: Overview::new(Silent),
        events: Events::new(Silent),
        dead_letters: DeadLetters::new(Silent),
        proof: Proof::new(Silent),
        connect: Connect::new(Silent),
    }
}

/// A console for a test. Unless the test gives other settings, a proxy authenticates its users.
pub(crate) struct TestConsole {
    pub(crate) console: Console,
    router: Router,
    /// The audit log.
    pub(crate) log: Arc<Mutex<Vec<Entry>>>,
}

/// A response with its whole body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// Returns the session cookie in the form in which the browser sends it back.
    pub(crate) fn cookie(&self) -> String {
        self.header("set-cookie").split(';').next().unwrap().to_owned()
    }

    /// Returns the form token of the page.
    pub(crate) fn token(&self) -> String {
        let (_, after) = self.text.split_once("name=\"token\" value=\"").expect("the page has a form");
        after.split('"').next().unwrap().to_owned()
    }
}

impl TestConsole {
    /// Creates a console with these screens and options. A proxy authenticates its users.
    pub(crate) fn new(screens: Screens, given: &[&str]) -> Self {
        let proxy = [
            "--console-auth=proxy",
            &format!("--console-proxy-secret={SECRET}"),
            "--console-proxy-roles=viewer=viewer,investigator=investigator,operator=operator",
        ];
        Self::with(screens, settings(&[&proxy[..], given].concat()))
    }

    pub(crate) fn with(screens: Screens, settings: Settings) -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        let copy = Arc::clone(&log);
        let write = ActionLog::to(move |entry: &Entry| copy.lock().unwrap().push(entry.clone()));
        let console = Console::with(settings, screens, write, Arc::new(|| NOW));
        Self { router: router(&console), console, log }
    }

    /// Creates a console with a users file. The file has one user for each role, with the name of the role and the
    /// password [`PASSWORD`].
    pub(crate) fn with_passwords(folder: &Folder) -> Self {
        let path = folder.path("users");
        for role in Role::ALL {
            add_user(&path, &NewUser { name: role.to_string(), role, password: PASSWORD.into() }).unwrap();
        }
        let file = format!("--console-users-file={}", path.display());
        Self::with(screens(), settings(&["--console-auth=basic", &file]))
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    /// Requests a page as a user with this role.
    pub(crate) async fn get(&self, role: Role, path: &str) -> Answer {
        self.send(by(role, Request::get(path)).body(Body::empty()).unwrap()).await
    }

    /// Sends a form as a browser would, with the session cookie and a valid form token.
    pub(crate) async fn post(&self, role: Role, path: &str, fields: &[(&str, &str)]) -> Answer {
        let page = self.send(by(role, Request::get("/assets/none")).body(Body::empty()).unwrap()).await;
        let cookie = page.cookie();
        let (_, id) = cookie.split_once('=').unwrap();
        let session = crate::access::SessionId::of_cookie(id).unwrap();
        let token = self.console.visitors().visit(session, &identity(role), None, NOW).token;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("token", &token).extend_pairs(fields);
        let request = by(role, Request::post(path))
            .header("origin", format!("http://{HOST}"))
            .header("cookie", cookie)
            .header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(form.finish().into()).unwrap()).await
    }
}

/// Password of all users in [`TestConsole::with_passwords`].
pub(crate) const PASSWORD: &str = "correct horse battery";

/// Returns the headers with which the proxy identifies a user with this role.
fn identity(role: Role) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("x-console-secret", SECRET.parse().unwrap());
    headers.insert("x-forwarded-user", role.as_str().parse().unwrap());
    headers.insert("x-forwarded-groups", role.as_str().parse().unwrap());
    headers
}

/// Adds the header Host and the proxy's headers for a user with this role to a request.
pub(crate) fn by(role: Role, request: axum::http::request::Builder) -> axum::http::request::Builder {
    let mut request = request.header(header::HOST, HOST);
    for (name, value) in &identity(role) {
        request = request.header(name, value);
    }
    request
}

#[cfg(test)]
mod folder {
    use std::path::PathBuf;

    /// A temporary folder that is removed with its files when this value is dropped.
    pub(crate) struct Folder(PathBuf);

    impl Folder {
        pub(crate) fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("console-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub(crate) fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }
}
