//! A TCP proxy between one service and its brokers or Platform. A test can change the proxy's [`Fault`] at any time.
//!
//! A proxy has one listener for each server behind it, and a fault applies to all of them. A connection that lost bytes
//! because of a fault is reset as soon as the fault ends, because no real network delivers a byte stream with a gap.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::free_port;

/// Maximum number of bytes per read.
const CHUNK: usize = 16 * 1024;

/// Maximum number of queued chunks in one direction of a connection.
const IN_TRANSIT: usize = 256;

/// Fault that a proxy applies to all its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No fault: all bytes are forwarded.
    None,
    /// Open connections are closed, and new ones are reset at once.
    Cut,
    /// Connections are accepted and stay open, but all bytes are dropped.
    BlackHole,
    /// Bytes in this direction are forwarded, and bytes in the opposite direction are dropped.
    OneWay(Direction),
    /// All bytes are forwarded after this delay.
    Delay(Duration),
}

/// Direction of bytes on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Bytes from the service to its server.
    ToServer,
    /// Bytes from the server to the service.
    ToClient,
}

impl Fault {
    fn swallows(self, direction: Direction) -> bool {
        match self {
            Self::BlackHole => true,
            Self::OneWay(passes) => passes != direction,
            Self::None | Self::Cut | Self::Delay(_) => false,
        }
    }

    fn latency(self) -> Duration {
        match self {
            Self::Delay(latency) => latency,
            _ => Duration::ZERO,
        }
    }
}

/// Orders for all connections.
#[derive(Debug, Clone, Copy)]
struct Orders {
    fault: Fault,
    /// Number of times that all connections have been reset.
    resets: u64,
}

#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    swallowed: AtomicU64,
}

/// A listener and the server behind it.
#[derive(Debug, Clone, Copy)]
struct Route {
    port: u16,
    server: u16,
}

/// A running proxy, which ends when this value is dropped.
#[derive(Debug)]
pub struct Proxy {
    routes: Vec<Route>,
    orders: watch::Sender<Orders>,
    counts: Arc<Counts>,
    runtime: Option<Runtime>,
}

impl Proxy {
    /// Starts a proxy for servers at these ports of this machine. The servers need not run yet.
    ///
    /// # Errors
    /// Returns an error if no thread or no listener can be created.
    pub fn start(servers: &[u16]) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (orders, _) = watch::channel(Orders { fault: Fault::None, resets: 0 });
        let counts = Arc::new(Counts::default());
        let mut routes = Vec::with_capacity(servers.len());
        for &server in servers {
            let port = free_port();
            let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, port)))?;
            runtime.spawn(accept(listener, server, orders.subscribe(), Arc::clone(&counts)));
            routes.push(Route { port, server });
        }
        Ok(Self { routes, orders, counts, runtime: Some(runtime) })
    }

    /// Returns the port at which the service reaches one of the servers, counted from 0.
    ///
    /// # Panics
    /// Panics if there are fewer servers.
    #[must_use]
    pub fn port(&self, server: usize) -> u16 {
        self.routes[server].port
    }

    /// Returns the port on which one of the servers itself listens, counted from 0.
    ///
    /// # Panics
    /// Panics under the same conditions as [`Proxy::port`].
    #[must_use]
    pub fn server(&self, server: usize) -> u16 {
        self.routes[server].server
    }

    /// Returns the addresses of all listeners, as a value of `KAFKA_BOOTSTRAP_SERVERS`.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<_> = self.routes.iter().map(|route| format!("127.0.0.1:{}", route.port)).collect();
        addresses.join(",")
    }

    /// Replaces the current fault.
    pub fn set(&self, fault: Fault) {
        self.orders.send_modify(|orders| orders.fault = fault);
    }

    /// Ends the current fault.
    pub fn heal(&self) {
        self.set(Fault::None);
    }

    /// Resets all open connections once (RST to both sides).
    pub fn reset(&self) {
        self.orders.send_modify(|orders| orders.resets += 1);
    }

    /// Returns the number of open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    /// Returns the total number of dropped bytes.
    #[must_use]
    pub fn swallowed(&self) -> u64 {
        self.counts.swallowed.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, server: u16, orders: watch::Receiver<Orders>, counts: Arc<Counts>) {
    loop {
        // A failed accept affects only one connection, and its client notices the failure.
        let Ok((client, _)) = listener.accept().await else { continue };
        let (orders, counts) = (orders.clone(), Arc::clone(&counts));
        tokio::spawn(async move {
            counts.open.fetch_add(1, Ordering::SeqCst);
            serve(client, server, orders, &counts).await;
            counts.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// Ways in which a connection ends.
enum Ending {
    Close,
    Reset,
}

async fn serve(mut client: TcpStream, server: u16, mut orders: watch::Receiver<Orders>, counts: &Counts) {
    let fault = orders.borrow_and_update().fault;
    let mut upstream = match fault {
        Fault::Cut => return reset(&client),
        Fault::BlackHole => None,
        _ => match TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, server))).await {
            Ok(upstream) => Some(upstream),
            Err(_) => return reset(&client),
        },
    };
    let holes = Holes { orders: orders.clone(), to_server: AtomicBool::new(false), to_client: AtomicBool::new(false) };
    let ending = if let Some(upstream) = &mut upstream {
        for stream in [&client, upstream] {
            drop(stream.set_nodelay(true));
        }
        let (client_reads, client_writes) = client.split();
        let (server_reads, server_writes) = upstream.split();
        let both_ways = async {
            let ways = tokio::try_join!(
                pump(client_reads, server_writes, Direction::ToServer, &holes, counts),
                pump(server_reads, client_writes, Direction::ToClient, &holes, counts),
            );
            ways.map_or(Ending::Reset, |_| Ending::Close)
        };
        tokio::select! {
            ending = supervise(&mut orders, &holes) => ending,
            ending = both_ways => ending,
        }
    } else {
        let (mut reads, _) = client.split();
        holes.to_server.store(true, Ordering::SeqCst);
        tokio::select! {
            ending = supervise(&mut orders, &holes) => ending,
            () = swallow(&mut reads, counts) => Ending::Close,
        }
    };
    if matches!(ending, Ending::Reset) {
        [Some(&client), upstream.as_ref()].into_iter().flatten().for_each(reset);
    }
}

/// Makes the connection end with a reset (RST) when it is closed.
fn reset(stream: &TcpStream) {
    // An error is ignored, because a connection that has already ended does not need a reset.
    drop(stream.set_zero_linger());
}

/// Directions of a connection that have lost bytes.
struct Holes {
    orders: watch::Receiver<Orders>,
    to_server: AtomicBool,
    to_client: AtomicBool,
}

impl Holes {
    fn of(&self, direction: Direction) -> &AtomicBool {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }

    fn fault(&self) -> Fault {
        self.orders.borrow().fault
    }

    /// Whether a direction has lost bytes but would forward the next bytes under this fault, which would leave a gap.
    fn is_broken(&self, direction: Direction, fault: Fault) -> bool {
        self.of(direction).load(Ordering::SeqCst) && !fault.swallows(direction)
    }
}

/// Waits until an order ends this connection; returns the way in which it ends.
async fn supervise(orders: &mut watch::Receiver<Orders>, holes: &Holes) -> Ending {
    let resets = orders.borrow_and_update().resets;
    loop {
        let now = *orders.borrow_and_update();
        let is_broken = |direction| holes.is_broken(direction, now.fault);
        if now.resets != resets || is_broken(Direction::ToServer) || is_broken(Direction::ToClient) {
            return Ending::Reset;
        }
        if now.fault == Fault::Cut || orders.changed().await.is_err() {
            return Ending::Close;
        }
    }
}

/// Forwards one direction of a connection until its end.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    holes: &Holes,
    counts: &Counts,
) -> io::Result<()> {
    let (queue, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(IN_TRANSIT);
    let read = async move {
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = from.read(&mut buffer).await?;
            let fault = holes.fault();
            if fault.swallows(direction) {
                holes.of(direction).store(true, Ordering::SeqCst);
                counts.swallowed.fetch_add(read as u64, Ordering::SeqCst);
                if read == 0 {
                    // The end of the connection is dropped as well: the other side notices nothing until the fault ends
                    // and the connection is reset.
                    std::future::pending::<()>().await;
                }
                continue;
            }
            if holes.is_broken(direction, fault) {
                return Err(io::Error::other("bytes are missing"));
            }
            // Returning drops the queue, which also ends the writing half.
            if read == 0 || queue.send((Instant::now() + fault.latency(), buffer[..read].to_vec())).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async {
        while let Some((at, chunk)) = chunks.recv().await {
            tokio::time::sleep_until(at).await;
            to.write_all(&chunk).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(|_| ())
}

/// Reads and discards bytes until the client closes the connection.
async fn swallow(client: &mut ReadHalf<'_>, counts: &Counts) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(read @ 1..) = client.read(&mut buffer).await {
        counts.swallowed.fetch_add(read as u64, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
