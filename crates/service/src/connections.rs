//! Accepts the connections of an HTTP server.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Accepts connections until `stop` and spawns `serve` for each, with the address of its client. At most `limit`
/// connections are open: at the limit the oldest one is closed, whose client has usually got its response by then.
///
/// Returns the connections that are still open; the listener is closed.
pub async fn accept<S, F>(listener: TcpListener, limit: usize, stop: &CancellationToken, mut serve: S) -> JoinSet<()>
where
    S: FnMut(TcpStream, SocketAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return tasks,
            accepted = listener.accept() => accepted,
        };
        while tasks.try_join_next().is_some() {}
        open.retain(|task| !task.is_finished());
        match accepted {
            Ok((stream, client)) => {
                if open.len() >= limit
                    && let Some(oldest) = open.pop_front()
                {
                    oldest.abort();
                }
                open.push_back(tasks.spawn(serve(stream, client)));
            }
            // Most likely, the process has no free file descriptors.
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
