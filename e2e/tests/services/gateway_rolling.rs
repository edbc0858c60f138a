//! Two gateways are behind a proxy that sends new connections only to the ready ones, as load balancers do. Each
//! gateway is replaced in turn under load, and every webhook gets a 202 at the first attempt.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use e2e::accounting::read;
use e2e::http;
use e2e::pipeline::{Pipeline, SIGNING_KEY, shared_kafka};
use e2e::process::Process;
use e2e::sender::{Senders, event};
use e2e::turn::alone;
use e2e::{free_port, wait_until};

const PATH: &str = "/webhooks/customerio";

/// A gateway behind the proxy.
struct Backend {
    port: u16,
    admin: u16,
    ready: AtomicBool,
}

/// A proxy that forwards bytes. A new connection goes to a gateway that was ready at the last check.
struct Proxy {
    port: u16,
    backends: Arc<[Backend; 2]>,
    failures: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl Proxy {
    fn start(backends: [Backend; 2]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (backends, failures) = (Arc::new(backends), Arc::new(Mutex::new(Vec::new())));
        let stop = Arc::new(AtomicBool::new(false));
        for number in 0..2 {
            let (backends, stop) = (Arc::clone(&backends), Arc::clone(&stop));
            std::thread::spawn(move || {
                let backend = &backends[number];
                while !stop.load(Ordering::SeqCst) {
                    let ready = http::get(backend.admin, "/readyz").is_some_and(|(status, _)| status == 200);
                    backend.ready.store(ready, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
        }
        let proxy =
            Self { port, backends: Arc::clone(&backends), failures: Arc::clone(&failures), stop: Arc::clone(&stop) };
        std::thread::spawn(move || {
            for (number, client) in listener.incoming().enumerate() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (client, backends, failures) = (client.unwrap(), Arc::clone(&backends), Arc::clone(&failures));
                std::thread::spawn(move || {
                    let chosen = (0..2).map(|turn| &backends[(number + turn) % 2]);
                    let Some(backend) = chosen.into_iter().find(|backend| backend.ready.load(Ordering::SeqCst)) else {
                        failures.lock().unwrap().push("no gateway is ready".to_owned());
                        return;
                    };
                    match TcpStream::connect(("127.0.0.1", backend.port)) {
                        Ok(gateway) => forward(client, gateway),
                        Err(error) => failures.lock().unwrap().push(format!("{}: {error}", backend.port)),
                    }
                });
            }
        });
        proxy
    }

    fn all_ready(&self) -> bool {
        self.backends.iter().all(|backend| backend.ready.load(Ordering::SeqCst))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener, so that it notices the stop.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// Forwards bytes in both directions, and the end of each direction.
fn forward(client: TcpStream, gateway: TcpStream) {
    let pass = |mut from: TcpStream, mut to: TcpStream| {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        to.shutdown(Shutdown::Write).unwrap_or_default();
    };
    client.set_nodelay(true).unwrap();
    gateway.set_nodelay(true).unwrap();
    let (back_from, back_to) = (gateway.try_clone().unwrap(), client.try_clone().unwrap());
    let back = std::thread::spawn(move || pass(back_from, back_to));
    pass(client, gateway);
    back.join().unwrap();
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p1_during_a_rolling_restart_of_two_gateways_every_webhook_gets_202() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "rolling");
    let backends = [(); 2].map(|()| Backend { port: free_port(), admin: free_port(), ready: AtomicBool::new(false) });
    let start = |backend: &Backend| {
        let mut variables = pipeline.gateway_variables();
        variables.push(("GATEWAY_LISTEN", format!("127.0.0.1:{}", backend.port)));
        variables.push(("GATEWAY_DRAIN_DELAY", "1s".to_owned()));
        Process::start("ingest-gateway", &variables, Some(backend.admin))
    };
    let mut gateways: Vec<Process> = backends.iter().map(start).collect();
    let proxy = Proxy::start(backends);
    let patience = Duration::from_secs(30);
    wait_until("both gateways to be ready", patience, || proxy.all_ready());
    // The lazy senders are idle between two webhooks for almost as long as the drain delay.
    let busy = Senders::start(proxy.port, PATH, SIGNING_KEY, 12, Duration::from_millis(8), "busy");
    let lazy = Senders::start(proxy.port, PATH, SIGNING_KEY, 40, Duration::from_millis(700), "lazy");
    let full = std::env::var("E2E_FULL").is_ok();
    let rounds = if full { 10 } else { 4 };
    for round in 0..rounds {
        let sent = busy.answered();
        wait_until("some load on both", patience, || busy.answered() > sent + 500);
        let gateway = &mut gateways[round % 2];
        assert_eq!(gateway.terminate(), Some(0));
        assert!(gateway.log().contains("draining"));
        *gateway = start(&proxy.backends[round % 2]);
        wait_until("both gateways to be ready again", patience, || proxy.all_ready());
    }
    let (busy, lazy) = (busy.finish(), lazy.finish());
    assert_eq!(*proxy.failures.lock().unwrap(), Vec::<String>::new());
    busy.assert_all_stored();
    lazy.assert_all_stored();
    let stored: HashSet<Vec<u8>> =
        read(&shared_kafka().connection(), &pipeline.topic("raw")).into_iter().map(|record| record.value).collect();
    for id in busy.acknowledged.iter().chain(&lazy.acknowledged) {
        assert!(stored.contains(event(id).as_bytes()), "{id} was acknowledged and is not stored");
    }
}
