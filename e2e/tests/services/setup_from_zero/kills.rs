//! P11: kills `setup apply` after each of its requests to Platform and to Customer.io in turn, and runs it again. A new
//! object is missing from lists and look-ups for one second.
//!
//! The simulator executes a request and withholds its response; then the command gets a SIGKILL. The request to IMS
//! changes nothing, so no run is killed after it.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use e2e::pipeline::{Pipeline, SIGNING_KEY, Variables, shared_kafka};
use e2e::process::command;
use e2e::turn::alone;
use e2e::{http, wait_until};
use platform_sim::{ControlFault, ControlFaultKind, ControlOptions, SimSettings, Simulator};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Time in which a new object is missing from lists and look-ups.
const VISIBLE_AFTER: Duration = Duration::from_secs(1);

/// Maximum time of one run of the command. It reads a list again every 2 s while a created object is missing from the
/// list.
const RUN: Duration = Duration::from_secs(240);

/// Delay with which the simulator withholds a response, in milliseconds. It is longer than any run.
const WITHHELD: u64 = 600_000;

/// The path of each kind of create request to Platform, and the number of objects that a set-up creates with it.
const CREATED: [(&str, usize); 8] = [
    ("/idnamespace/identities", 2),
    ("/tenant/fieldgroups", 1),
    ("/tenant/schemas", 1),
    ("/catalog/dataSets", 1),
    ("/flowservice/connections", 1),
    ("/flowservice/sourceConnections", 1),
    ("/flowservice/targetConnections", 1),
    ("/flowservice/flows", 1),
];

/// The API after whose requests the command is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Api {
    Platform,
    CustomerIo,
}

/// What happens to the state file between two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StateFile {
    /// All runs use the same file, named with `--state`.
    Given,
    /// Each run begins without a state file, as in a new container. The next run starts only after the created objects
    /// are visible, so that it finds them by their mark.
    Lost,
}

/// The settings that all runs share.
struct Runs {
    /// Runtime of the simulators.
    runtime: Runtime,
    /// Prefix of the names of the folders.
    name: String,
    /// Address of the gateway, which receives the webhooks of all accounts.
    public_url: String,
}

/// An account at Platform and Customer.io, with the folder from which it is set up.
struct Account {
    simulator: Simulator,
    folder: PathBuf,
    state: StateFile,
    public_url: String,
}

impl Drop for Account {
    fn drop(&mut self) {
        self.simulator.stop();
        drop(fs::remove_dir_all(&self.folder));
    }
}

impl Account {
    fn variables(&self) -> Variables {
        let (simulated, customerio) = (self.simulator.ims_url(), self.simulator.customerio_url());
        let entries = [
            ("PLATFORM_API_URL", simulated.as_str()),
            ("IMS_URL", simulated.as_str()),
            ("CUSTOMERIO_API_URL", customerio.as_str()),
            ("CUSTOMERIO_PUBLIC_URL", self.public_url.as_str()),
            ("CUSTOMERIO_SIGNING_KEYS", SIGNING_KEY),
            ("PLATFORM_IMS_ORG", "ACME@AdobeOrg"),
            ("PLATFORM_SANDBOX", "dev"),
            ("IMS_CLIENT_ID", "sim-client"),
            ("IMS_CLIENT_SECRET", "sim-secret"),
            ("CUSTOMERIO_APP_API_KEY", "sim-app-key"),
            ("CUSTOMERIO_WORKSPACE", "Acme"),
            ("CUSTOMERIO_EVENTS", "all"),
            ("CUSTOMERIO_FULL_RESOLUTION", "false"),
            ("CUSTOMERIO_WITH_CONTENT", "false"),
            ("SETUP_SETTLE_SCALE", "0"),
        ];
        entries.map(|(name, value)| (name, value.to_owned())).to_vec()
    }

    /// Starts the command, which also enables the webhook.
    fn start(&self) -> Child {
        let mut run = command("customerio-aep", &self.variables());
        run.args(["setup", "apply", "--yes", "--only", "platform,customerio", "--wait=120s"]);
        if self.state == StateFile::Given {
            run.args(["--state", "state.json"]);
        }
        let log = File::create(self.folder.join("log")).unwrap();
        run.current_dir(&self.folder).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// Runs the command to its end, and asserts that it succeeds. With [`StateFile::Lost`], removes the state file
    /// first. Returns the output of the command.
    fn run_again(&self, what: &str) -> String {
        if self.state == StateFile::Lost {
            fs::remove_dir_all(self.folder.join(".customerio-aep")).unwrap_or_default();
        }
        let mut run = self.start();
        let mut status = None;
        wait_until("`setup apply` to end", RUN, || {
            status = run.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(status.unwrap().code(), Some(0), "{what}:\n{}", self.log());
        self.log()
    }

    /// Runs the command, and kills it after the simulator has executed the request with this number, without a
    /// response. Returns false if the command ended before this request.
    fn is_killed_after(&self, api: Api, request: u64) -> bool {
        self.withhold(api, request);
        let wanted = usize::try_from(request).unwrap();
        let (mut run, mut is_withheld) = (self.start(), false);
        wait_until("a withheld response, or the end of `setup apply`", RUN, || {
            is_withheld = self.requests(api) >= wanted;
            is_withheld || run.try_wait().unwrap().is_some()
        });
        if is_withheld {
            run.kill().unwrap();
        }
        let status = run.wait().unwrap();
        assert!(is_withheld || status.success(), "{api:?}, request {request}: {status}\n{}", self.log());
        for path in ["/admin/control/faults", "/admin/customerio/faults"] {
            assert_eq!(http::request(Method::DELETE, self.port(), path, &[], "").unwrap().0, 204);
        }
        is_withheld
    }

    /// Makes the simulator withhold the response to the request with this number, counted from 1.
    fn withhold(&self, api: Api, request: u64) {
        if api == Api::Platform {
            let late = ControlFaultKind::Delay { millis: WITHHELD, before: false };
            return self.simulator.add_control_fault(ControlFault::from(late).every(request).times(1));
        }
        if request > 1 {
            self.customerio_fault(&json!({"fault": "late", "millis": 0, "requests": request - 1}));
        }
        self.customerio_fault(&json!({"fault": "late", "millis": WITHHELD}));
    }

    fn customerio_fault(&self, fault: &Value) {
        let answer = http::send_json(Method::POST, self.port(), "/admin/customerio/faults", &fault.to_string());
        assert_eq!(answer.unwrap().0, 204, "{fault}");
    }

    fn port(&self) -> u16 {
        self.simulator.address().port()
    }

    fn get(&self, path: &str) -> Value {
        serde_json::from_str(&http::get(self.port(), path).unwrap().1).unwrap()
    }

    /// The number of requests to an API that the simulator has executed.
    fn requests(&self, api: Api) -> usize {
        match api {
            Api::Platform => self.simulator.control_requests().len(),
            Api::CustomerIo => self.seen_by_customerio().len(),
        }
    }

    fn seen_by_customerio(&self) -> Vec<Value> {
        self.get("/admin/customerio/requests").as_array().unwrap().clone()
    }

    fn assert_each_object_exists_once(&self, what: &str) {
        let done = self.simulator.control_requests();
        for (path, count) in CREATED {
            let created = done.iter().filter(|request| {
                request.method == "POST" && request.path.ends_with(path) && (200..300).contains(&request.status)
            });
            assert_eq!(created.count(), count, "{what}: {path}");
        }
        let everything = self.get("/admin/customerio");
        let webhooks = everything["webhooks"].as_array().unwrap();
        assert_eq!(webhooks.len(), 1, "{what}: {webhooks:?}");
        assert_eq!(webhooks[0]["webhook"]["disabled"], false, "{what}: {webhooks:?}");
    }

    /// Runs the command once more, and asserts that it only reads.
    fn assert_nothing_is_left_to_do(&self, what: &str) {
        let (platform, customerio) = (self.requests(Api::Platform), self.requests(Api::CustomerIo));
        let text = self.run_again(what);
        assert!(text.contains("0 to create, 0 to change"), "{what}:\n{text}");
        for request in &self.simulator.control_requests()[platform..] {
            let reads = request.method == "GET" || request.path.ends_with("effective-policies");
            assert!(reads, "{what}: {} {}", request.method, request.path);
        }
        for request in &self.seen_by_customerio()[customerio..] {
            assert_eq!(request["method"], "GET", "{what}: {request}");
        }
    }
}

impl Runs {
    fn account(&self, api: Api, state: StateFile, request: u64) -> Account {
        let control = ControlOptions {
            fresh: true,
            visible_after: VISIBLE_AFTER,
            settle_scale: 0.0,
            page_size: 2,
            ..ControlOptions::default()
        };
        let settings = SimSettings { control, ..SimSettings::default() };
        let simulator = self.runtime.block_on(Simulator::start("127.0.0.1:0".parse().unwrap(), settings)).unwrap();
        let folder = std::env::temp_dir().join(format!("{}-{api:?}-{state:?}-{request}", self.name));
        fs::create_dir_all(&folder).unwrap();
        Account { simulator, folder, state, public_url: self.public_url.clone() }
    }

    /// Kills the first run after this request. Asserts that the second run completes the set-up, and that the third run
    /// has nothing to do. Returns false if the first run ended before this request.
    fn converge(&self, api: Api, state: StateFile, request: u64) -> bool {
        let what = format!("killed after request {request} to {api:?}, state file {state:?}");
        let account = self.account(api, state, request);
        let was_killed = account.is_killed_after(api, request);
        if state == StateFile::Lost {
            let killed = Instant::now();
            wait_until("all objects to be visible", RUN, || killed.elapsed() > VISIBLE_AFTER);
        }
        account.run_again(&what);
        account.assert_each_object_exists_once(&what);
        account.assert_nothing_is_left_to_do(&what);
        was_killed
    }

    /// Kills runs after request 1, 2, 3, … until a run ends before its request. `at_once` runs are active at the same
    /// time, because a run mostly waits. Returns the number of killed runs.
    fn kill_after_each_request(&self, api: Api, state: StateFile, at_once: usize) -> u64 {
        let (next, kills, has_ended) = (AtomicU64::new(1), AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    while !has_ended.load(Ordering::SeqCst) {
                        let request = next.fetch_add(1, Ordering::SeqCst);
                        if self.converge(api, state, request) {
                            kills.fetch_add(1, Ordering::SeqCst);
                        } else {
                            has_ended.store(true, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        kills.into_inner()
    }
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p11_setup_apply_converges_after_a_kill_at_any_request_with_and_without_its_state_file() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "kills");
    let _gateway = pipeline.gateway();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let public_url = format!("http://127.0.0.1:{}", pipeline.gateway_port);
    let runs = &Runs { runtime, name: pipeline.name, public_url };
    std::thread::scope(|scope| {
        // Each run sends at least 30 requests to Platform, and at least 5 to Customer.io: the requests for the
        // workspaces, the webhooks and the sender addresses, the create request, and the update that enables the
        // webhook.
        let series = [
            (Api::Platform, StateFile::Given, 10, 30),
            (Api::Platform, StateFile::Lost, 10, 30),
            (Api::CustomerIo, StateFile::Given, 2, 5),
            (Api::CustomerIo, StateFile::Lost, 2, 5),
        ];
        let running = series.map(|(api, state, at_once, least)| {
            let kills = scope.spawn(move || runs.kill_after_each_request(api, state, at_once));
            (api, state, least, kills)
        });
        for (api, state, least, kills) in running {
            let kills = kills.join().unwrap();
            println!("{kills} runs were killed after a request to {api:?} with the state file {state:?}");
            assert!(kills >= least, "only {kills} requests to {api:?} with the state file {state:?}");
        }
    });
}
